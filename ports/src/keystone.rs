//! Keystone v3: password tokens and their validation.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::{ProjectId, Secret, SimTime, UserId};

/// A role's name as tokens carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, in every project.
    Admin,
    /// A project's ordinary user.
    Member,
    /// May look, not touch.
    Reader,
    /// A service: what cinder asks of a service token since CVE-2023-2088.
    Service,
}

/// What a valid token says of its bearer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// The bearer.
    pub user_id: UserId,
    /// The project the token is scoped to.
    pub project_id: ProjectId,
    /// The roles on that project.
    pub roles: SmallVec<[Role; 3]>,
    /// When the token stops being valid.
    pub expires_at: SimTime,
}

/// A token just issued: its id (the X-Subject-Token header) and what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IssuedToken {
    /// The token itself.
    pub token: Secret,
    /// What it says.
    pub info: TokenInfo,
}

crate::operations!(Keystone, "keystone", {
    /// `POST /v3/auth/tokens` with method `password`, scoped to a project: 201, or 401.
    CreateToken {
        /// User name.
        user: UserId,
        /// The user's password.
        password: Secret,
        /// Project to scope to.
        project: ProjectId,
    } -> IssuedToken;
    /// `GET /v3/auth/tokens` with X-Subject-Token: 200, or 404 when unknown or expired.
    ///
    /// `allow_expired` asks for `allow_expired=1`, which keystone grants inside
    /// `allow_expired_window` (172800 s): the caller must have seen a valid service token.
    ValidateToken {
        /// The token to validate.
        subject: Secret,
        /// Accept a token that expired within the window.
        allow_expired: bool,
    } -> TokenInfo;
});

impl Call {
    /// The call as its system's log would show it.
    pub fn describe(&self) -> String {
        match self {
            Call::CreateToken(c) => {
                format!("POST /v3/auth/tokens user={} project={}", c.user, c.project)
            }
            Call::ValidateToken(c) if c.allow_expired => {
                "GET /v3/auth/tokens?allow_expired=1 X-Subject-Token: ***".to_owned()
            }
            Call::ValidateToken(_) => "GET /v3/auth/tokens X-Subject-Token: ***".to_owned(),
        }
    }
}
