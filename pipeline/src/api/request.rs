//! What every controller of nova-api has: the caller, the server, policy, and how an exception
//! becomes a status.

use castoff_ports::keystone::Role;
use castoff_ports::novadb::{GetInstance, Instance};
use castoff_ports::{Failure, InstanceId, Refusal};

use crate::context::Context;
use crate::error::NovaError;
use crate::middleware::auth_token::Caller;
use crate::policy::AccessRule;

/// One request with its validated caller.
pub struct Request<'a> {
    /// Process and caller.
    pub cx: Context<'a>,
    /// What the token says.
    pub caller: Caller,
}

/// How an exception of the compute API becomes a status: the except clauses differ by method.
pub(super) type Translate = fn(&NovaError) -> Option<u16>;

/// Who may do something to a server, in the words of nova's default policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// PROJECT_READER_OR_ADMIN.
    Reader,
    /// PROJECT_MEMBER_OR_ADMIN.
    Member,
    /// ADMIN, in both generations.
    Admin,
    /// SERVICE_ROLE or ADMIN, whatever the project.
    Service,
}

impl Request<'_> {
    /// `context.can`: 403 unless the caller has the role.
    pub(super) fn check(&self, rule: Rule, group: &str, action: &str) -> Result<(), Refusal> {
        let caller = &self.caller;
        let allowed = match (self.cx.policy().access_rule, rule) {
            (_, Rule::Admin) => caller.is_admin(),
            // Its target is the request's own project: everybody owns that.
            (AccessRule::AdminOrOwner, Rule::Reader | Rule::Member) => true,
            // The seed's swap is for administrators.
            (AccessRule::AdminOrOwner, Rule::Service) => caller.is_admin(),
            (AccessRule::ProjectMemberOrAdmin, Rule::Reader) => {
                caller.is_admin() || caller.has(Role::Member) || caller.has(Role::Reader)
            }
            (AccessRule::ProjectMemberOrAdmin, Rule::Member) => {
                caller.is_admin() || caller.has(Role::Member)
            }
            (AccessRule::ProjectMemberOrAdmin, Rule::Service) => {
                caller.is_admin() || caller.has(Role::Service)
            }
        };
        if allowed {
            return Ok(());
        }
        Err(Refusal::http(
            403,
            format!("Policy doesn't allow os_compute_api:{group}{action} to be performed."),
        ))
    }

    /// `common.get_instance`: another project's server does not exist for this caller.
    pub(super) async fn get_instance(&self, server: &InstanceId) -> Result<Instance, Refusal> {
        let missing = || {
            let e = NovaError::InstanceNotFound { instance: server.clone() };
            Refusal::http(404, e.format_message())
        };
        match self.cx.call(GetInstance { uuid: server.clone() }).await {
            Ok(i) if self.caller.is_admin() || i.project_id == self.caller.token().project_id => {
                Ok(i)
            }
            Ok(_) | Err(Failure::Refused(Refusal::NotFound { .. })) => Err(missing()),
            Err(e) => Err(self.unexpected(&e.into())),
        }
    }

    /// An exception as the client sees it.
    pub(super) fn fault(&self, e: NovaError, action: &str, translate: Translate) -> Refusal {
        if let NovaError::InstanceInvalidState { instance, attr, state, .. } = &e {
            return invalid_state(action, instance, attr, state);
        }
        match translate(&e) {
            Some(status) => Refusal::http(status, http_message(&e)),
            None => self.unexpected(&e),
        }
    }

    /// What `expected_errors` makes of an exception that the controller did not expect.
    pub(super) fn unexpected(&self, e: &NovaError) -> Refusal {
        self.cx.error(format!("Unexpected exception in API method: failed to {e}"));
        let text = format!(
            "Unexpected API Error. Please report this at http://bugs.launchpad.net/nova/ and \
             attach the Nova API log if possible.\n<class 'nova.exception.{}'>",
            e.class_name()
        );
        Refusal::http(500, text)
    }
}

/// `raise_http_conflict_for_instance_invalid_state`.
pub(super) fn invalid_state(action: &str, server: &InstanceId, attr: &str, state: &str) -> Refusal {
    let text = format!("Cannot '{action}' instance {server} while it is in {attr} {state}");
    Refusal::http(409, text)
}

/// An exception that an RPC call brought back speaks with its own message.
fn http_message(e: &NovaError) -> String {
    match e {
        NovaError::Failure(Failure::Refused(Refusal::Remote { message, .. })) => message.clone(),
        e => e.format_message(),
    }
}
