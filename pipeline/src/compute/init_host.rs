//! `ComputeManager.init_host`: what nova-compute takes up again when it starts (D1).
//!
//! It knows servers by their task_state. An attach and a detach have none, and no row says that
//! one was running: nobody takes them up, in either generation, and the volume stays as it was
//! left. Sessions and disks of running guests are not looked at either. Queued casts are delivered
//! after this.

use castoff_ports::novadb::{
    BdmsByInstance, Instance, InstanceDestroy, InstanceUpdate, InstancesByProject, VmState,
};
use castoff_ports::{Auth, Port};

use super::delete::{delete_instance, save};
use super::power::{do_reboot_instance, do_start_instance, do_stop_instance};
use crate::context::{Context, NovaProcess};
use crate::error::NovaError;
use crate::virt;

/// Everything that nova-compute does before it takes messages. An error of one server is logged.
pub async fn init_host(process: &NovaProcess, port: &Port) {
    let port = &port.with_auth(admin_context(process, port).await);
    let cx = &Context::new(process, port);
    cx.station("nova.compute.manager.ComputeManager.init_host");
    let servers = match cx.call(InstancesByProject { project: None }).await {
        Ok(servers) => servers,
        Err(e) => return cx.error(format!("Failed to list the instances of this host: {e}")),
    };
    let host = &cx.conf().host;
    for server in servers.iter().filter(|s| s.host.as_ref() == Some(host)) {
        if let Err(e) = init_instance(cx, server).await {
            cx.error(format!("Failed to init instance {}: failed to {e}", server.uuid));
        }
    }
}

/// An administrator without a user's token: cinder is asked as `[cinder]` says, where nova has such
/// an account, and answers 401 where it has none (A1).
pub(super) async fn admin_context(process: &NovaProcess, port: &Port) -> Auth {
    let token = Context::new(process, port).service_token().await;
    Auth { token: token.unwrap_or_default(), service_token: None }
}

/// What a server's state says was under way when the process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfinished {
    Nothing,
    Building,
    Deleting,
    /// All but the row is gone.
    PartiallyDeleted,
    Rebooting {
        hard: bool,
    },
    Passing,
    PoweringOff,
    PoweringOn,
}

fn unfinished(server: &Instance) -> Unfinished {
    let task = server.task_state.as_deref();
    match (server.vm_state, task) {
        (VmState::SoftDeleted, _) => Unfinished::Nothing,
        (VmState::Deleted, _) => Unfinished::PartiallyDeleted,
        (_, Some("deleting")) => Unfinished::Deleting,
        (VmState::Error, _) => Unfinished::Nothing,
        (VmState::Building, _)
        | (_, Some("scheduling" | "block_device_mapping" | "networking" | "spawning")) => {
            Unfinished::Building
        }
        (_, Some("reboot_pending" | "reboot_started")) => Unfinished::Rebooting { hard: false },
        (_, Some("reboot_pending_hard" | "reboot_started_hard")) => {
            Unfinished::Rebooting { hard: true }
        }
        (_, Some("rebooting" | "rebooting_hard" | "pausing" | "unpausing")) => Unfinished::Passing,
        (_, Some("powering-off")) => Unfinished::PoweringOff,
        (_, Some("powering-on")) => Unfinished::PoweringOn,
        (_, Some(_) | None) => Unfinished::Nothing,
    }
}

/// `_init_instance`.
async fn init_instance(cx: &Context<'_>, server: &Instance) -> Result<(), NovaError> {
    let uuid = &server.uuid;
    match unfinished(server) {
        Unfinished::Nothing => Ok(()),
        // The reconciler takes it back to where it came from.
        Unfinished::Building
            if cx.policy().shelve_resumes && super::shelve::is_unfinished(server) =>
        {
            Ok(())
        }
        Unfinished::Rebooting { .. }
        | Unfinished::Passing
        | Unfinished::PoweringOff
        | Unfinished::PoweringOn
            if cx.policy().power_resumes =>
        {
            Ok(())
        }
        Unfinished::Building => save(cx, uuid, InstanceUpdate::vm_state(VmState::Error)).await,
        // `_complete_partial_deletion`.
        Unfinished::PartiallyDeleted => Ok(cx.call(InstanceDestroy { uuid: uuid.clone() }).await?),
        Unfinished::Deleting => {
            cx.warning(format!("Service started deleting the instance {uuid} during the previous run, but did not finish. Restarting the deletion now."));
            let bdms = cx.call(BdmsByInstance { instance: uuid.clone() }).await?;
            delete_instance(cx, uuid, bdms).await
        }
        Unfinished::Rebooting { hard } => {
            if virt::driver::is_running(cx, uuid).await? {
                return save(cx, uuid, InstanceUpdate::vm_state(VmState::Active)).await;
            }
            do_reboot_instance(cx, uuid, hard).await
        }
        Unfinished::Passing => {
            if virt::driver::is_running(cx, uuid).await? {
                return save(cx, uuid, InstanceUpdate::vm_state(VmState::Active)).await;
            }
            Ok(())
        }
        Unfinished::PoweringOff => do_stop_instance(cx, uuid).await,
        Unfinished::PoweringOn => do_start_instance(cx, uuid).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(vm_state: VmState, task_state: Option<&str>) -> Instance {
        Instance {
            uuid: "i1".into(),
            project_id: "demo".into(),
            host: Some("compute-1".into()),
            vm_state,
            task_state: task_state.map(str::to_owned),
            launched: true,
            locked: false,
        }
    }

    #[test]
    fn a_server_without_a_task_state_is_left_alone_whatever_was_detached_from_it() {
        assert_eq!(unfinished(&server(VmState::Active, None)), Unfinished::Nothing);
        assert_eq!(unfinished(&server(VmState::Stopped, None)), Unfinished::Nothing);
    }

    #[test]
    fn an_unfinished_delete_is_taken_up_even_of_a_server_in_error() {
        for state in [VmState::Active, VmState::Error, VmState::Building] {
            assert_eq!(unfinished(&server(state, Some("deleting"))), Unfinished::Deleting);
        }
        let gone = unfinished(&server(VmState::Deleted, Some("deleting")));
        assert_eq!(gone, Unfinished::PartiallyDeleted);
        let rebooting = server(VmState::Error, Some("reboot_started"));
        assert_eq!(unfinished(&rebooting), Unfinished::Nothing);
    }

    #[test]
    fn a_reboot_is_taken_up_from_the_moment_that_the_manager_had_it() {
        let at = |task| unfinished(&server(VmState::Active, Some(task)));
        assert_eq!(at("rebooting_hard"), Unfinished::Passing);
        assert_eq!(at("reboot_pending_hard"), Unfinished::Rebooting { hard: true });
        assert_eq!(at("reboot_started"), Unfinished::Rebooting { hard: false });
        assert_eq!(at("powering-off"), Unfinished::PoweringOff);
        assert_eq!(at("spawning"), Unfinished::Building);
    }
}
