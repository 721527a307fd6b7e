//! Logins, by password or by another token, and the tokens that they make.
//!
//! A token that was exchanged for another keeps its parent's end: rescoping prolongs nothing. An
//! unscoped token names no project and carries no roles; every service refuses it in its own way.

use castoff_ports::keystone::{CreateToken, IssuedToken, TokenInfo};
use castoff_ports::{ProjectId, Refusal, Secret, SimTime};
use smallvec::SmallVec;

use super::directory::DOMAIN;
use super::{ALLOW_EXPIRED_WINDOW, Keystone, Named, UNAUTHORIZED};

/// A token and what only keystone knows of it.
#[derive(Clone, Debug)]
pub(super) struct Token {
    issued: IssuedToken,
    issued_at: SimTime,
    /// Number of the token that it was exchanged for, if it was: the first of that chain.
    parent: Option<usize>,
    pub(super) revoked: bool,
}

impl Token {
    /// Ends no later than at `now`.
    pub(super) fn expire(&mut self, now: SimTime) {
        let end = &mut self.issued.info.expires_at;
        *end = now.min(*end);
    }

    pub(super) fn text(&self) -> &Secret {
        &self.issued.token
    }

    pub(super) fn info(&self) -> &TokenInfo {
        &self.issued.info
    }

    pub(super) fn is_valid(&self, now: SimTime, allow_expired: bool) -> bool {
        let end = self.issued.info.expires_at;
        !self.revoked && (now < end || (allow_expired && now < end + ALLOW_EXPIRED_WINDOW))
    }
}

/// What a login shows.
#[derive(Clone, Copy, Debug)]
pub enum Login<'a> {
    /// A user and its password.
    Password(Named<'a>, &'a Secret),
    /// A token that is valid still.
    Token(&'a Secret),
}

/// What a login asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Nothing: an unscoped token, from a password; the token's own project, from a token.
    None,
    /// A project.
    Project(Named<'a>),
    /// A domain or the system, on which nobody has a role here.
    Elsewhere,
}

/// A login that keystone refuses: it never says what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotIssued;

impl From<NotIssued> for Refusal {
    fn from(NotIssued: NotIssued) -> Refusal {
        Refusal::http(401, UNAUTHORIZED)
    }
}

/// A token as keystone shows it.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// What every service sees of it.
    pub info: &'a TokenInfo,
    /// Name of the bearer.
    pub user_name: &'a str,
    /// Name of the project; none when the token is unscoped.
    pub project_name: Option<&'a str>,
    /// When it was made.
    pub issued_at: SimTime,
    /// The methods by which it came about.
    pub methods: &'static [&'static str],
    /// Number of the token, then of the one that its chain began with.
    pub audit: SmallVec<[usize; 2]>,
}

impl Keystone {
    /// The `CreateToken` of the ports: by names in the default domain, scoped to a project.
    pub(super) fn create(
        &mut self,
        now: SimTime,
        call: &CreateToken,
    ) -> Result<IssuedToken, Refusal> {
        let user = Named::Name(call.user.as_str(), DOMAIN.0);
        let project = Named::Name(call.project.as_str(), DOMAIN.0);
        let login = Login::Password(user, &call.password);
        Ok(self.log_in(now, login, Scope::Project(project))?)
    }

    /// `POST /v3/auth/tokens`.
    pub fn log_in(
        &mut self,
        now: SimTime,
        login: Login,
        scope: Scope,
    ) -> Result<IssuedToken, NotIssued> {
        // An unknown user, a wrong password and a project without a role are told apart nowhere
        // in the answer.
        let (user_id, parent, expires_at) = match login {
            Login::Password(named, password) => {
                let user = self.directory.user(named).ok_or(NotIssued)?;
                if user.password != *password {
                    return Err(NotIssued);
                }
                (user.id.clone(), None, now + self.token_lifetime)
            }
            Login::Token(text) => {
                let at = self.position(text).ok_or(NotIssued)?;
                let token = &self.tokens[at];
                if !token.is_valid(now, false) {
                    return Err(NotIssued);
                }
                let first = token.parent.unwrap_or(at);
                (token.info().user_id.clone(), Some((at, first)), token.info().expires_at)
            }
        };
        let project = match (scope, parent) {
            (Scope::None, None) => None,
            (Scope::None, Some((at, _))) => {
                let project = self.tokens[at].info().project_id.clone();
                Some(project).filter(is_scope)
            }
            (Scope::Project(named), _) => {
                Some(self.directory.project(named).ok_or(NotIssued)?.id.clone())
            }
            (Scope::Elsewhere, _) => return Err(NotIssued),
        };
        let roles = match &project {
            Some(project) => self.directory.roles(&user_id, project).ok_or(NotIssued)?.into(),
            None => SmallVec::new(),
        };
        let issued = IssuedToken {
            // Zero-padded, so that the order of issue is the order of the texts.
            token: Secret::new(format!("gAAAAAB{:09}", self.tokens.len())),
            info: TokenInfo {
                user_id,
                project_id: project.unwrap_or_else(|| ProjectId::new("")),
                roles,
                expires_at,
            },
        };
        self.tokens.push(Token {
            issued: issued.clone(),
            issued_at: now,
            parent: parent.map(|(_, first)| first),
            revoked: false,
        });
        Ok(issued)
    }

    /// A token that was ever issued, as keystone shows it.
    pub fn shown(&self, token: &Secret) -> Option<Shown<'_>> {
        let at = self.position(token)?;
        let token = &self.tokens[at];
        let info = token.info();
        let mut audit: SmallVec<[usize; 2]> = SmallVec::new();
        audit.push(at);
        audit.extend(token.parent);
        Some(Shown {
            info,
            user_name: &self.directory.user_of_id(&info.user_id)?.name,
            project_name: self.directory.project_of_id(&info.project_id).map(|p| &*p.name),
            issued_at: token.issued_at,
            methods: match token.parent {
                None => &["password"],
                Some(_) => &["token", "password"],
            },
            audit,
        })
    }
}

fn is_scope(project: &ProjectId) -> bool {
    !project.as_str().is_empty()
}
