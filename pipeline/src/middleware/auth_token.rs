//! keystonemiddleware's `auth_token`: who is asking, before the controller sees the request (A1).

use castoff_ports::keystone::{Role, TokenInfo, ValidateToken};
use castoff_ports::{Failure, Refusal};

use crate::context::Context;
use crate::volume_api::connect_retries;

/// What the middleware found out about the caller; nova's RequestContext.
pub struct Caller(TokenInfo);

impl Caller {
    /// The rule `context_is_admin`.
    pub fn is_admin(&self) -> bool {
        self.has(Role::Admin)
    }
    /// Whether the token carries this role.
    pub fn has(&self, role: Role) -> bool {
        self.0.roles.contains(&role)
    }
    /// What the token says.
    pub fn token(&self) -> &TokenInfo {
        &self.0
    }
}

/// Validates the caller's token at keystone: 401 without a valid one, 503 without keystone.
pub async fn validate(cx: &Context<'_>) -> Result<Caller, Refusal> {
    cx.station("keystonemiddleware.auth_token");
    let Some(subject) = &cx.port.cx.auth.token else { return Err(unauthorized()) };
    let request = || ValidateToken { subject: subject.clone(), allow_expired: false };
    match connect_retries(cx, cx.port, request).await {
        Ok(info) => Ok(Caller(info)),
        Err(Failure::Refused(Refusal::Http { status: 400..500, .. })) => Err(unauthorized()),
        Err(e) => {
            cx.error(format!("Identity server did not validate the token: {e}"));
            Err(Refusal::http(503, "The Keystone service is temporarily unavailable."))
        }
    }
}

fn unauthorized() -> Refusal {
    Refusal::http(401, "The request you have made requires authentication.")
}
