//! Who asks in a scenario: its users, and what keystone has of them.

use castoff_model::World;
use castoff_pipeline::client::User;
use castoff_ports::keystone::Role;
use castoff_ports::{ProjectId, Secret, UserId};
use castoff_scenarios::{Action, Actor, Standing};

/// The project that has the servers and the volumes.
const PROJECT: &str = "demo";

/// Every scenario's users.
#[derive(Clone, Debug)]
pub struct Users {
    /// A member of the project.
    pub member: User,
    /// May look at things of the project.
    pub reader: User,
    /// A member of another project.
    pub stranger: User,
    /// An administrator.
    pub admin: User,
}

/// The project that has the servers and the volumes.
pub fn project() -> ProjectId {
    ProjectId::new(PROJECT)
}

fn user(name: &str, project: &str) -> User {
    User {
        user: UserId::new(name),
        password: Secret::new(format!("{name}-password")),
        project: ProjectId::new(project),
    }
}

impl Users {
    /// They are the same in all scenarios.
    pub fn new() -> Users {
        Users {
            member: user("demo", PROJECT),
            reader: user("reader", PROJECT),
            stranger: user("stranger", "another"),
            admin: user("admin", "admin"),
        }
    }

    /// Who acts: an administrator anyway where cinder lets nobody else do it.
    pub fn of(&self, actor: &Actor) -> &User {
        match actor.by {
            _ if is_admins(actor.action) => &self.admin,
            Standing::Member => &self.member,
            Standing::Reader => &self.reader,
            Standing::Stranger => &self.stranger,
            Standing::Admin => &self.admin,
        }
    }

    /// Makes them and nova's own user known to keystone, with the roles of keystone's bootstrap,
    /// where admin implies member and member implies reader.
    pub fn register(&self, world: &mut World) {
        let member: &[Role] = &[Role::Member, Role::Reader];
        for (user, roles) in [
            (&self.member, member),
            (&self.reader, &[Role::Reader]),
            (&self.stranger, member),
            (&user("nova", "service"), &[Role::Service, Role::Admin]),
            (&self.admin, &[Role::Admin, Role::Member, Role::Reader]),
        ] {
            let User { user, password, project } = user.clone();
            world.keystone.add_user(user, password, project, roles);
        }
    }
}

impl Default for Users {
    fn default() -> Self {
        Users::new()
    }
}

/// Whether cinder lets administrators alone do it.
fn is_admins(action: Action) -> bool {
    match action {
        Action::ResetToAvailable
        | Action::ResetToInUse
        | Action::ResetToError
        | Action::ForceDetach => true,
        Action::Detach
        | Action::Attach
        | Action::AttachWhenAvailable
        | Action::DeleteVolume
        | Action::DeleteServer
        | Action::HardReboot
        | Action::SoftReboot
        | Action::RestartCompute
        | Action::Stop
        | Action::Start
        | Action::Shelve
        | Action::Unshelve
        | Action::Suspend
        | Action::Resume
        | Action::Lock
        | Action::Unlock
        | Action::DeleteAttachment => false,
    }
}
