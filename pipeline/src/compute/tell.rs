//! How a user learns of the end that the reconciler has given to an attach or a detach.

use castoff_ports::InstanceId;
use castoff_ports::novadb::{ActionStart, ActionsByInstance, EventFinish, EventResult, EventStart};

use crate::context::Context;
use crate::error::NovaError;

/// The event by which a user learns of the end.
pub(super) const EVENT: &str = "compute_detach_volume";

/// Writes into the request's action how it ended. One that shows an error keeps it: nova has no way
/// to take it back.
///
/// False when it could not be written: somebody has to come back.
pub(super) async fn tell(cx: &Context<'_>, instance: &InstanceId, ok: bool) -> bool {
    tell_of(cx, instance, "detach_volume", EVENT, ok).await
}

/// As [`tell`], if the request came as far as an action. One that did not was refused by nova-api.
///
/// False when it could not be written.
pub(super) async fn tell_if_begun(
    cx: &Context<'_>,
    instance: &InstanceId,
    event: &str,
    ok: bool,
) -> bool {
    recorded(cx, "detach_volume", try_tell(cx, instance, None, event, ok).await)
}

/// Whether the request has an action: nova-api writes it before it asks cinder to let go.
pub(super) async fn is_begun(cx: &Context<'_>, instance: &InstanceId) -> Result<bool, NovaError> {
    let actions = cx.call(ActionsByInstance { instance: instance.clone() }).await?;
    Ok(actions.iter().any(|a| a.request_id == cx.port.cx.request))
}

fn recorded(cx: &Context<'_>, action: &str, told: Result<(), NovaError>) -> bool {
    if let Err(e) = &told {
        cx.warning(format!("The end of {action} is not recorded: failed to {e}"));
    }
    told.is_ok()
}

/// As [`tell`], of another action.
pub(super) async fn tell_of(
    cx: &Context<'_>,
    instance: &InstanceId,
    action: &str,
    event: &str,
    ok: bool,
) -> bool {
    recorded(cx, action, try_tell(cx, instance, Some(action), event, ok).await)
}

/// An action that is not there is begun under this name; without one there is nobody to tell.
async fn try_tell(
    cx: &Context<'_>,
    instance: &InstanceId,
    name: Option<&str>,
    event: &str,
    ok: bool,
) -> Result<(), NovaError> {
    let actions = cx.call(ActionsByInstance { instance: instance.clone() }).await?;
    let action = actions.into_iter().find(|a| a.request_id == cx.port.cx.request);
    let shows_error = action.as_ref().is_some_and(|a| a.message.is_some());
    if shows_error {
        return Ok(());
    }
    if action.is_none() {
        let Some(name) = name else { return Ok(()) };
        let action = name.to_owned();
        cx.call(ActionStart { instance: instance.clone(), action }).await?;
    }
    let known = action.and_then(|mut a| {
        let at = a.events.iter().position(|e| e.event == event)?;
        Some(a.events.swap_remove(at))
    });
    if known.as_ref().is_some_and(|e| e.finish_time.is_some()) {
        return Ok(());
    }
    if known.is_none() {
        cx.call(EventStart { instance: instance.clone(), event: event.to_owned() }).await?;
    }
    let result = if ok { EventResult::Success } else { EventResult::Error };
    let finish = EventFinish { instance: instance.clone(), event: event.to_owned(), result };
    Ok(cx.call(finish).await?)
}
