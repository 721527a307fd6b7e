//! Who deletes an attachment: nova for a user, or anybody with a token (CVE-2023-2088).

use super::{Advice, Opt, Service, Severity, opt};

const SEND: Opt = opt("service_user", &["send_service_user_token"]);
const AUTH_TYPE: Opt = opt("service_user", &["auth_type", "auth_plugin"]);
const AUTH_SECTION: Opt = opt("service_user", &["auth_section"]);
const REQUIRED: Opt = opt("keystone_authtoken", &["service_token_roles_required"]);
const ROLES: Opt = opt("keystone_authtoken", &["service_token_roles"]);

const OSSA: &str =
    "OSSA-2023-003 (CVE-2023-2088), LP 2004555; Nova: admin/configuration/service-user-token";
const CINDER: &str =
    "OSSA-2023-003 (CVE-2023-2088); Cinder: configuration/block-storage/service-token";

/// Roles that keystone bootstraps for people; "service" is its role for services.
const PEOPLES: [&str; 4] = ["admin", "manager", "member", "reader"];

/// What `auth_type = password` needs. An option of keystoneauth may be spelt in more ways than one.
const PASSWORD: [&[&str]; 4] = [
    &["auth_url"],
    &["username", "user_name", "user-name", "user_id", "user-id"],
    &["password"],
    &["project_name", "project-name", "project_id", "project-id", "tenant_name", "tenant_id"],
];

pub(super) fn check(
    nova: Option<&Service<'_>>,
    cinder: Option<&Service<'_>>,
    all: &mut Vec<Advice>,
) {
    if let Some(nova) = nova {
        sender(nova, all);
    }
    if let Some(cinder) = cinder {
        receiver(cinder, all);
    }
}

fn sender(nova: &Service<'_>, all: &mut Vec<Advice>) {
    if !nova.flag(SEND, false) {
        all.push(nova.advice(
            Severity::Stuck,
            SEND,
            "nova sends the user's token alone: cinder answers 409 when it deletes the attachment, and a detach \
             that outlasts the token fails in the middle",
            "send_service_user_token = true, and the service user's auth_type, auth_url, username, password, \
             project and domains",
            OSSA,
        ));
        return;
    }
    if nova.get(AUTH_SECTION).is_some() {
        return;
    }
    let Some(kind) = nova.get(AUTH_TYPE) else {
        all.push(nova.advice(
            Severity::Stuck,
            AUTH_TYPE,
            "nova is to send a service token and is not told how to get one",
            "auth_type = password, and auth_url, username, password, project_name and the domains",
            OSSA,
        ));
        return;
    };
    if !matches!(kind.text.trim(), "password" | "v3password") {
        return;
    }
    for names in PASSWORD {
        let lacks = Opt { section: "service_user", names };
        if nova.get(lacks).is_none() {
            all.push(nova.advice(
                Severity::Stuck,
                lacks,
                "nova cannot get the service token that it is to send",
                format!("set {} in [service_user]", names.first().unwrap_or(&"it")),
                OSSA,
            ));
        }
    }
}

fn receiver(cinder: &Service<'_>, all: &mut Vec<Advice>) {
    if !cinder.flag(REQUIRED, false) {
        all.push(cinder.advice(
            Severity::Unsafe,
            REQUIRED,
            "keystonemiddleware takes any valid token for a service token, and lets an expired user token pass \
             beside it",
            "service_token_roles_required = true, once every service's user has a role of service_token_roles",
            CINDER,
        ));
    }
    let Some(roles) = cinder.get(ROLES) else { return };
    let is_peoples = |role: &&str| PEOPLES.contains(&role.to_lowercase().as_str());
    let roles: Vec<&str> = roles.text.split([',', '\n']).map(str::trim).collect();
    let peoples: Vec<&str> = roles.iter().copied().filter(is_peoples).collect();
    if !peoples.is_empty() {
        all.push(cinder.advice(
            Severity::Unsafe,
            ROLES,
            format!(
                "people with the role {} count as services: they can delete the attachment of a running server, \
                 whose disk then shows whatever the LUN is given to next",
                peoples.join(" or ")
            ),
            "service_token_roles = service, a role that only services have",
            CINDER,
        ));
    }
}
