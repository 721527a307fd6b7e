//! Users, projects, and who has which role where; one domain, the default one.

use std::sync::Arc;

use castoff_ports::keystone::Role;
use castoff_ports::{ProjectId, Secret, UserId};
use smallvec::SmallVec;

/// The only domain's id and name.
pub(crate) const DOMAIN: (&str, &str) = ("default", "Default");

/// How a request names a user or a project: an id is unique, a name only in its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// By id.
    Id(&'a str),
    /// By name, in the domain of this id or name.
    Name(&'a str, &'a str),
}

impl Named<'_> {
    fn is(self, id: &str, name: &str) -> bool {
        match self {
            Named::Id(asked) => asked == id,
            Named::Name(asked, domain) => {
                asked == name && (domain == DOMAIN.0 || domain == DOMAIN.1)
            }
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) id: UserId,
    pub(super) name: Arc<str>,
    pub(super) password: Secret,
}

#[derive(Clone, Debug)]
pub(super) struct Project {
    pub(super) id: ProjectId,
    pub(super) name: Arc<str>,
}

/// One user's roles on one project.
#[derive(Clone, Debug)]
struct Grant {
    user: UserId,
    project: ProjectId,
    roles: SmallVec<[Role; 3]>,
}

/// The identity and assignment tables.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    users: Vec<User>,
    projects: Vec<Project>,
    grants: Vec<Grant>,
}

impl Directory {
    pub(super) fn grant(
        &mut self,
        user: UserId,
        password: Secret,
        project: ProjectId,
        roles: &[Role],
    ) {
        match self.users.iter_mut().find(|u| u.id == user) {
            Some(known) => known.password = password,
            None => self.users.push(User { id: user.clone(), name: user.0.clone(), password }),
        }
        if self.project_of_id(&project).is_none() {
            self.projects.push(Project { id: project.clone(), name: project.0.clone() });
        }
        let roles = with_implied(roles);
        match self.grants.iter_mut().find(|g| g.user == user && g.project == project) {
            Some(known) => known.roles = roles,
            None => self.grants.push(Grant { user, project, roles }),
        }
    }

    pub(super) fn name_user(&mut self, id: UserId, name: &str) {
        if let Some(user) = self.users.iter_mut().find(|u| u.id == id) {
            user.name = name.into();
        }
    }

    pub(super) fn name_project(&mut self, id: ProjectId, name: &str) {
        match self.projects.iter_mut().find(|p| p.id == id) {
            Some(project) => project.name = name.into(),
            None => self.projects.push(Project { id, name: name.into() }),
        }
    }

    pub(super) fn user(&self, named: Named) -> Option<&User> {
        self.users.iter().find(|u| named.is(u.id.as_str(), &u.name))
    }

    pub(super) fn project(&self, named: Named) -> Option<&Project> {
        self.projects.iter().find(|p| named.is(p.id.as_str(), &p.name))
    }

    pub(super) fn user_of_id(&self, id: &UserId) -> Option<&User> {
        self.users.iter().find(|u| u.id == *id)
    }

    pub(super) fn project_of_id(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.iter().find(|p| p.id == *id)
    }

    pub(super) fn roles(&self, user: &UserId, project: &ProjectId) -> Option<&[Role]> {
        self.grants
            .iter()
            .find(|g| g.user == *user && g.project == *project)
            .map(|g| g.roles.as_slice())
    }
}

/// keystone-manage bootstrap makes admin imply member, and member imply reader (a manager, between
/// the first two, is nobody here). In the order of [`Role`].
fn with_implied(roles: &[Role]) -> SmallVec<[Role; 3]> {
    let mut all: SmallVec<[Role; 3]> = SmallVec::new();
    for role in roles {
        let implied: &[Role] = match role {
            Role::Admin => &[Role::Admin, Role::Member, Role::Reader],
            Role::Member => &[Role::Member, Role::Reader],
            Role::Reader => &[Role::Reader],
            Role::Service => &[Role::Service],
        };
        for role in implied {
            if !all.contains(role) {
                all.push(*role);
            }
        }
    }
    all.sort_unstable();
    all
}
