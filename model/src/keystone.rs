//! Keystone: password tokens and what they are exchanged for, and who may ask what a token says.
//!
//! A token is an opaque text that stops being valid at a fixed time; every service asks here, at
//! its own door, whether a request's token is still good. That question is what a long detach
//! fails on: the user's token expires between two calls to cinder, unless nova sends a service
//! token with it (keystone's `allow_expired_window`). Tokens are counted, not random. The pipeline
//! only makes and validates them; the wire also rescopes and revokes.
//!
//! - `directory`: users, projects, and who has which role where.
//! - `issue`: logins, by password or by a token, and the tokens that they make.

mod directory;
mod issue;
#[cfg(test)]
mod tests;

use std::time::Duration;

use castoff_ports::keystone::{Call, Reply, Role, TokenInfo};
use castoff_ports::{Auth, ProjectId, Refusal, Secret, SimTime, UserId};

use crate::world::Step;
pub(crate) use directory::DOMAIN;
use directory::Directory;
use issue::Token;

pub use directory::Named;
pub use issue::{Login, NotIssued, Scope, Shown};

/// `[token]expiration`: how long a token is valid, unless a scenario says otherwise.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// `[token]allow_expired_window`: how long after that a service may still have it validated.
pub const ALLOW_EXPIRED_WINDOW: Duration = Duration::from_secs(172_800);

/// Keystone's text, and keystonemiddleware's, for every 401.
pub const UNAUTHORIZED: &str = "The request you have made requires authentication.";

/// Keystone's database.
#[derive(Clone, Debug)]
pub struct Keystone {
    /// How long a new token is valid.
    pub token_lifetime: Duration,
    directory: Directory,
    /// In the order of issue, which is the order of their texts.
    tokens: Vec<Token>,
}

impl Default for Keystone {
    fn default() -> Self {
        Keystone::new()
    }
}

impl Keystone {
    /// A keystone without users.
    pub fn new() -> Keystone {
        Keystone {
            token_lifetime: TOKEN_LIFETIME,
            directory: Directory::default(),
            tokens: Vec::new(),
        }
    }

    /// Gives a user these roles on a project, and what they imply.
    ///
    /// User and project are named as their ids, unless they have a name already. Calling it again
    /// for another project gives the user that one too.
    pub fn add_user(&mut self, user: UserId, password: Secret, project: ProjectId, roles: &[Role]) {
        self.directory.grant(user, password, project, roles);
    }

    /// Names a user otherwise than by its id: what it logs in with.
    pub fn name_user(&mut self, id: UserId, name: &str) {
        self.directory.name_user(id, name);
    }

    /// Names a project otherwise than by its id.
    pub fn name_project(&mut self, id: ProjectId, name: &str) {
        self.directory.name_project(id, name);
    }

    /// Answers one operation; `auth` is the caller's own token, not the one that is asked about.
    pub fn call(&mut self, step: &mut Step, auth: &Auth, call: Call) -> Result<Reply, Refusal> {
        match call {
            Call::CreateToken(c) => self.create(step.now, &c).map(Reply::CreateToken),
            Call::ValidateToken(c) => self
                .validate(step.now, auth, &c.subject, c.allow_expired)
                .map(|info| Reply::ValidateToken(info.clone())),
        }
    }

    /// Every token that was given out is expired from now on.
    pub fn expire_tokens(&mut self, now: SimTime) {
        for token in &mut self.tokens {
            token.expire(now);
        }
    }

    /// What keystonemiddleware at a service's door learns of a request's token; none when the
    /// token is unknown, revoked or no longer valid.
    ///
    /// `allow_expired` is what it asks for after it has seen a valid service token.
    pub fn bearer(&self, now: SimTime, token: &Secret, allow_expired: bool) -> Option<&TokenInfo> {
        self.find(token).filter(|t| t.is_valid(now, allow_expired)).map(Token::info)
    }

    /// `GET /v3/auth/tokens`: what a token says, to whom may know.
    pub fn validate(
        &self,
        now: SimTime,
        auth: &Auth,
        subject: &Secret,
        allow_expired: bool,
    ) -> Result<&TokenInfo, Refusal> {
        let asker = self.asker(now, auth)?;
        let info = self.subject(now, subject, allow_expired)?.info();
        // Policy identity:validate_token: an admin, a service, or the token's own user.
        may(asker, info, asker.roles.contains(&Role::Service), "identity:validate_token")?;
        Ok(info)
    }

    /// `HEAD /v3/auth/tokens`: whether a token is valid.
    pub fn check(
        &self,
        now: SimTime,
        auth: &Auth,
        subject: &Secret,
        allow_expired: bool,
    ) -> Result<(), Refusal> {
        let asker = self.asker(now, auth)?;
        let info = self.subject(now, subject, allow_expired)?.info();
        may(asker, info, false, "identity:check_token")
    }

    /// `DELETE /v3/auth/tokens`: the token is good for nothing from now on.
    pub fn revoke(&mut self, now: SimTime, auth: &Auth, subject: &Secret) -> Result<(), Refusal> {
        let asker = self.asker(now, auth)?;
        let info = self.subject(now, subject, false)?.info();
        may(asker, info, false, "identity:revoke_token")?;
        if let Some(at) = self.position(subject) {
            self.tokens[at].revoked = true;
        }
        Ok(())
    }

    /// Whose token an own request to keystone carries.
    pub fn asker(&self, now: SimTime, auth: &Auth) -> Result<&TokenInfo, Refusal> {
        auth.token
            .as_ref()
            .and_then(|token| self.bearer(now, token, false))
            .ok_or_else(|| Refusal::http(401, UNAUTHORIZED))
    }

    fn subject(
        &self,
        now: SimTime,
        subject: &Secret,
        allow_expired: bool,
    ) -> Result<&Token, Refusal> {
        let token = self
            .find(subject)
            .ok_or_else(|| Refusal::http(404, "Could not recognize Fernet token"))?;
        match token.is_valid(now, allow_expired) {
            true => Ok(token),
            false => Err(Refusal::http(404, "Failed to validate token")),
        }
    }

    fn position(&self, token: &Secret) -> Option<usize> {
        self.tokens.binary_search_by(|t| t.text().cmp(token)).ok()
    }

    fn find(&self, token: &Secret) -> Option<&Token> {
        self.position(token).map(|at| &self.tokens[at])
    }
}

/// What the policies of all questions about tokens have in common.
fn may(asker: &TokenInfo, of: &TokenInfo, also: bool, policy: &str) -> Result<(), Refusal> {
    if also || asker.roles.contains(&Role::Admin) || asker.user_id == of.user_id {
        return Ok(());
    }
    Err(Refusal::http(
        403,
        format!("You are not authorized to perform the requested action: {policy}."),
    ))
}
