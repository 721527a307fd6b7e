//! What a client needs to reach the cloud, in the forms in which clients read it.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// A user of the cloud.
#[derive(Clone, Debug)]
pub struct Account {
    /// The cloud's name in clouds.yaml.
    pub cloud: &'static str,
    /// Name.
    pub username: String,
    /// Password: of a made-up cloud, and the very thing that is asked for here.
    pub password: castoff_ports::Secret,
    /// Project name.
    pub project: String,
}

/// Where a served cloud listens, and who may use it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Keystone, with `/v3`.
    pub auth_url: String,
    /// nova-api, with `/v2.1`.
    pub compute: String,
    /// cinder-api, with `/v3`.
    pub volume: String,
    /// castoff's own port.
    pub admin: String,
    /// The users; the first is the ordinary one.
    pub accounts: Vec<Account>,
}

const REGION: &str = "RegionOne";

impl Credentials {
    /// clouds.yaml of openstacksdk.
    pub fn clouds_yaml(&self) -> String {
        let mut out = format!("# castoff admin: {}\nclouds:\n", self.admin);
        for account in &self.accounts {
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "  {}:\n    auth:\n      auth_url: {}\n      username: {}\n      password: {}\n      \
                 project_name: {}\n      user_domain_name: Default\n      \
                 project_domain_name: Default\n    region_name: {REGION}\n    \
                 identity_api_version: 3\n    volume_api_version: 3\n",
                account.cloud,
                self.auth_url,
                account.username,
                account.password.reveal(),
                account.project
            );
        }
        out
    }

    /// Exports for a shell, of the ordinary user.
    pub fn env(&self) -> String {
        let mut pairs = vec![("OS_AUTH_URL", self.auth_url.as_str())];
        if let Some(account) = self.accounts.first() {
            pairs.extend([
                ("OS_USERNAME", account.username.as_str()),
                ("OS_PASSWORD", account.password.reveal()),
                ("OS_PROJECT_NAME", account.project.as_str()),
            ]);
        }
        pairs.extend([
            ("OS_USER_DOMAIN_NAME", "Default"),
            ("OS_PROJECT_DOMAIN_NAME", "Default"),
            ("OS_REGION_NAME", REGION),
            ("OS_IDENTITY_API_VERSION", "3"),
            ("OS_VOLUME_API_VERSION", "3"),
            ("CASTOFF_ADMIN", self.admin.as_str()),
        ]);
        pairs.iter().map(|(name, value)| format!("export {name}={value}\n")).collect()
    }

    /// All of it for programs.
    pub fn json(&self) -> Value {
        let account = |a: &Account| {
            json!({
                "cloud": a.cloud,
                "username": a.username,
                "password": a.password.reveal(),
                "project": a.project,
            })
        };
        json!({
            "auth_url": self.auth_url,
            "compute": self.compute,
            "volume": self.volume,
            "admin": self.admin,
            "region": REGION,
            "accounts": self.accounts.iter().map(account).collect::<Vec<_>>(),
        })
    }
}
