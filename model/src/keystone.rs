//! Keystone: password tokens scoped to a project, and who may ask what a token says.
//!
//! A token is an opaque text that stops being valid at a fixed time; every service asks here, at
//! its own door, whether a request's token is still good. That question is what a long detach
//! fails on: the user's token expires between two calls to cinder, unless nova sends a service
//! token with it (keystone's `allow_expired_window`). Tokens are counted, not random, and they are
//! neither revoked nor rescoped here: no operation of the pipeline does either.

use std::time::Duration;

use castoff_ports::keystone::{Call, CreateToken, IssuedToken, Reply, Role, TokenInfo};
use castoff_ports::{Auth, ProjectId, Refusal, Secret, SimTime, UserId};
use smallvec::SmallVec;

use crate::world::Step;

/// `[token]expiration`: how long a token is valid, unless a scenario says otherwise.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);

/// `[token]allow_expired_window`: how long after that a service may still have it validated.
pub const ALLOW_EXPIRED_WINDOW: Duration = Duration::from_secs(172_800);

/// Keystone's text, and keystonemiddleware's, for every 401.
pub const UNAUTHORIZED: &str = "The request you have made requires authentication.";

/// One user's roles on one project.
#[derive(Clone, Debug)]
struct Grant {
    user: UserId,
    password: Secret,
    project: ProjectId,
    roles: SmallVec<[Role; 3]>,
}

/// Keystone's database.
#[derive(Clone, Debug)]
pub struct Keystone {
    /// How long a new token is valid.
    pub token_lifetime: Duration,
    grants: Vec<Grant>,
    /// In the order of issue, which is the order of their texts.
    tokens: Vec<IssuedToken>,
}

impl Default for Keystone {
    fn default() -> Self {
        Keystone::new()
    }
}

impl Keystone {
    /// A keystone without users.
    pub fn new() -> Keystone {
        Keystone { token_lifetime: TOKEN_LIFETIME, grants: Vec::new(), tokens: Vec::new() }
    }

    /// Gives a user these roles on a project, and what they imply.
    ///
    /// Calling it again for another project gives the user that one too.
    pub fn add_user(&mut self, user: UserId, password: Secret, project: ProjectId, roles: &[Role]) {
        let roles = with_implied(roles);
        self.grants.push(Grant { user, password, project, roles });
    }

    /// Answers one operation; `auth` is the caller's own token, not the one that is asked about.
    pub fn call(&mut self, step: &mut Step, auth: &Auth, call: Call) -> Result<Reply, Refusal> {
        match call {
            Call::CreateToken(c) => self.create(step.now, &c).map(Reply::CreateToken),
            Call::ValidateToken(c) => {
                self.validate(step.now, auth, &c.subject, c.allow_expired).map(Reply::ValidateToken)
            }
        }
    }

    /// What keystonemiddleware at a service's door learns of a request's token; none when the
    /// token is unknown or no longer valid.
    ///
    /// `allow_expired` is what it asks for after it has seen a valid service token.
    pub fn bearer(&self, now: SimTime, token: &Secret, allow_expired: bool) -> Option<&TokenInfo> {
        self.find(token).filter(|info| is_valid(info, now, allow_expired))
    }

    fn create(&mut self, now: SimTime, call: &CreateToken) -> Result<IssuedToken, Refusal> {
        // An unknown user, a wrong password and a project without a role are told apart nowhere
        // in the answer.
        let grant = self
            .grants
            .iter()
            .find(|g| {
                g.user == call.user && g.password == call.password && g.project == call.project
            })
            .ok_or_else(|| Refusal::http(401, UNAUTHORIZED))?;
        let issued = IssuedToken {
            // Zero-padded, so that the order of issue is the order of the texts.
            token: Secret::new(format!("gAAAAAB{:09}", self.tokens.len())),
            info: TokenInfo {
                user_id: grant.user.clone(),
                project_id: grant.project.clone(),
                roles: grant.roles.clone(),
                expires_at: now + self.token_lifetime,
            },
        };
        self.tokens.push(issued.clone());
        Ok(issued)
    }

    fn validate(
        &self,
        now: SimTime,
        auth: &Auth,
        subject: &Secret,
        allow_expired: bool,
    ) -> Result<TokenInfo, Refusal> {
        let asker = auth
            .token
            .as_ref()
            .and_then(|token| self.bearer(now, token, false))
            .ok_or_else(|| Refusal::http(401, UNAUTHORIZED))?;
        let info = self
            .find(subject)
            .ok_or_else(|| Refusal::http(404, "Could not recognize Fernet token"))?;
        if !is_valid(info, now, allow_expired) {
            return Err(Refusal::http(404, "Failed to validate token"));
        }
        // Policy identity:validate_token: an admin, a service, or the token's own user.
        let may = asker.roles.contains(&Role::Admin)
            || asker.roles.contains(&Role::Service)
            || asker.user_id == info.user_id;
        if !may {
            return Err(Refusal::http(
                403,
                "You are not authorized to perform the requested action: identity:validate_token.",
            ));
        }
        Ok(info.clone())
    }

    fn find(&self, token: &Secret) -> Option<&TokenInfo> {
        let at = self.tokens.binary_search_by(|t| t.token.cmp(token)).ok()?;
        Some(&self.tokens[at].info)
    }
}

fn is_valid(info: &TokenInfo, now: SimTime, allow_expired: bool) -> bool {
    now < info.expires_at || (allow_expired && now < info.expires_at + ALLOW_EXPIRED_WINDOW)
}

/// keystone-manage bootstrap makes admin imply member, and member imply reader.
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
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Facts;
    use crate::world::Completed;
    use castoff_ports::keystone::ValidateToken;

    fn ask(
        k: &mut Keystone,
        secs: u64,
        token: Option<&Secret>,
        call: Call,
    ) -> Result<Reply, Refusal> {
        let auth = Auth { token: token.cloned(), service_token: None };
        let mut step = Step {
            now: SimTime::from_secs(secs),
            facts: &mut Facts::new(),
            completed: &mut Completed::new(),
            next_ticket: &mut 0,
        };
        k.call(&mut step, &auth, call)
    }

    fn issue(k: &mut Keystone, user: &str, password: &str) -> Result<IssuedToken, Refusal> {
        let call = Call::CreateToken(CreateToken {
            user: user.into(),
            password: Secret::new(password),
            project: "demo".into(),
        });
        match ask(k, 0, None, call)? {
            Reply::CreateToken(issued) => Ok(issued),
            Reply::ValidateToken(_) => unreachable!("the reply is the call's own"),
        }
    }

    fn validate(subject: &Secret, allow_expired: bool) -> Call {
        Call::ValidateToken(ValidateToken { subject: subject.clone(), allow_expired })
    }

    fn status(result: Result<Reply, Refusal>) -> u16 {
        match result {
            Ok(_) => 200,
            Err(Refusal::Http { status, .. }) => status,
            Err(other) => panic!("not an HTTP refusal: {other}"),
        }
    }

    fn keystone() -> Keystone {
        let mut k = Keystone::new();
        k.add_user("demo".into(), Secret::new("secret"), "demo".into(), &[Role::Member]);
        k.add_user("nova".into(), Secret::new("nova"), "demo".into(), &[Role::Service]);
        k.add_user("boss".into(), Secret::new("boss"), "demo".into(), &[Role::Admin]);
        k
    }

    #[test]
    fn a_wrong_password_an_unknown_user_and_a_strange_project_get_the_same_401() {
        let mut k = keystone();
        for (user, password) in [("demo", "wrong"), ("nobody", "secret")] {
            assert_eq!(issue(&mut k, user, password), Err(Refusal::http(401, UNAUTHORIZED)));
        }
        let strange = Call::CreateToken(CreateToken {
            user: "demo".into(),
            password: Secret::new("secret"),
            project: "nowhere".into(),
        });
        assert_eq!(ask(&mut k, 0, None, strange), Err(Refusal::http(401, UNAUTHORIZED)));
    }

    #[test]
    fn roles_come_with_the_roles_that_they_imply() {
        let mut k = keystone();
        let roles = issue(&mut k, "demo", "secret").unwrap().info.roles;
        assert_eq!(roles.as_slice(), [Role::Member, Role::Reader]);
        let roles = issue(&mut k, "nova", "nova").unwrap().info.roles;
        assert_eq!(roles.as_slice(), [Role::Service]);
    }

    #[test]
    fn a_token_is_valid_until_its_lifetime_ends_and_two_days_longer_for_services() {
        let mut k = keystone();
        let token = issue(&mut k, "demo", "secret").unwrap().token;
        let at = |secs, allow| k.bearer(SimTime::from_secs(secs), &token, allow).is_some();
        assert!(at(3599, false));
        assert!(!at(3600, false));
        assert!(at(3600, true));
        assert!(at(3600 + 172_799, true));
        assert!(!at(3600 + 172_800, true));
        assert!(k.bearer(SimTime::ZERO, &Secret::new("garbage"), true).is_none());
    }

    #[test]
    fn a_service_an_admin_and_the_user_itself_may_validate_a_token_and_nobody_else() {
        let mut k = keystone();
        let demo = issue(&mut k, "demo", "secret").unwrap().token;
        let nova = issue(&mut k, "nova", "nova").unwrap().token;
        let boss = issue(&mut k, "boss", "boss").unwrap().token;
        for asker in [&demo, &nova, &boss] {
            assert_eq!(status(ask(&mut k, 1, Some(asker), validate(&demo, false))), 200);
        }
        assert_eq!(status(ask(&mut k, 1, Some(&demo), validate(&boss, false))), 403);
        assert_eq!(status(ask(&mut k, 1, None, validate(&demo, false))), 401);
    }

    #[test]
    fn an_expired_token_is_a_404_and_the_askers_own_expiry_a_401() {
        let mut k = keystone();
        let demo = issue(&mut k, "demo", "secret").unwrap().token;
        assert_eq!(status(ask(&mut k, 3600, Some(&demo), validate(&demo, false))), 401);
        k.token_lifetime = Duration::from_secs(86_400);
        let nova = issue(&mut k, "nova", "nova").unwrap().token;
        assert_eq!(
            ask(&mut k, 3600, Some(&nova), validate(&demo, false)),
            Err(Refusal::http(404, "Failed to validate token"))
        );
        assert_eq!(status(ask(&mut k, 3600, Some(&nova), validate(&demo, true))), 200);
        assert_eq!(
            ask(&mut k, 3600, Some(&nova), validate(&Secret::new("garbage"), true)),
            Err(Refusal::http(404, "Could not recognize Fernet token"))
        );
    }
}
