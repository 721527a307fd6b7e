//! Nova's database: ids, what a soft delete leaves, events and their actions.

use castoff_ports::novadb::*;
use castoff_ports::{AttachmentId, RequestId, SimTime};

use super::*;
use crate::world::Completed;

const REQ: RequestId = RequestId(7);

fn call(db: &mut NovaDb, facts: &mut Facts, call: Call) -> Result<Reply, Refusal> {
    let mut step =
        Step { now: SimTime::ZERO, facts, completed: &mut Completed::new(), next_ticket: &mut 0 };
    db.call(&mut step, REQ, call)
}

fn create(db: &mut NovaDb, facts: &mut Facts, volume: &str) -> BdmId {
    let made = call(
        db,
        facts,
        Call::BdmCreate(BdmCreate {
            instance: "i".into(),
            volume_id: volume.into(),
            device_name: Some("/dev/vdb".to_owned()),
        }),
    );
    match made.unwrap() {
        Reply::BdmCreate(bdm) => bdm.id,
        other => panic!("{other:?}"),
    }
}

fn finish(result: EventResult) -> Call {
    Call::EventFinish(EventFinish {
        instance: "i".into(),
        event: "compute_detach_volume".to_owned(),
        result,
    })
}

fn start_event() -> Call {
    Call::EventStart(EventStart { instance: "i".into(), event: "compute_detach_volume".to_owned() })
}

fn start_action() -> Call {
    Call::ActionStart(ActionStart { instance: "i".into(), action: "detach_volume".to_owned() })
}

#[test]
fn bdm_ids_count_from_one_and_are_never_used_again() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    let first = create(&mut db, &mut facts, "v1");
    assert_eq!(first, BdmId(1));
    let destroy = Call::BdmDestroy(BdmDestroy { id: first });
    call(&mut db, &mut facts, destroy).unwrap();
    assert_eq!(create(&mut db, &mut facts, "v1"), BdmId(2));
}

#[test]
fn destroying_a_row_twice_succeeds_twice_and_is_one_fact() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    let id = create(&mut db, &mut facts, "v1");
    facts.clear();
    for _ in 0..2 {
        let destroyed = call(&mut db, &mut facts, Call::BdmDestroy(BdmDestroy { id }));
        assert_eq!(destroyed, Ok(Reply::BdmDestroy(())));
    }
    assert_eq!(facts.len(), 1);
    assert!(db.live_bdms().is_empty());
}

#[test]
fn a_destroyed_row_is_found_by_no_query_and_cannot_be_saved() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    let id = create(&mut db, &mut facts, "v1");
    call(&mut db, &mut facts, Call::BdmDestroy(BdmDestroy { id })).unwrap();
    let by_pair = Call::BdmByVolumeAndInstance(BdmByVolumeAndInstance {
        volume_id: "v1".into(),
        instance: "i".into(),
    });
    assert_eq!(
        call(&mut db, &mut facts, by_pair),
        Err(Refusal::not_found("BlockDeviceMapping", "v1"))
    );
    let save = Call::BdmSave(BdmSave { id, update: BdmUpdate::default() });
    assert_eq!(call(&mut db, &mut facts, save), Err(Refusal::not_found("BlockDeviceMapping", id)));
    let by_volume = Call::BdmsByVolume(BdmsByVolume { volume_id: "v1".into() });
    assert_eq!(call(&mut db, &mut facts, by_volume), Ok(Reply::BdmsByVolume(vec![])));
}

#[test]
fn saving_writes_the_columns_that_are_given_and_leaves_the_others() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    let id = create(&mut db, &mut facts, "v1");
    let attachment = AttachmentId::new("a1");
    let save = |attachment_id| {
        Call::BdmSave(BdmSave { id, update: BdmUpdate { attachment_id, ..BdmUpdate::default() } })
    };
    call(&mut db, &mut facts, save(Some(attachment.clone()))).unwrap();
    call(&mut db, &mut facts, save(None)).unwrap();
    assert_eq!(db.live_bdms()[0].attachment_id, Some(attachment));
}

#[test]
fn an_event_without_its_action_is_refused() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    let no_action = Err(Refusal::not_found("InstanceAction", REQ));
    assert_eq!(call(&mut db, &mut facts, start_event()), no_action);
    let finished = call(&mut db, &mut facts, finish(EventResult::Success));
    assert_eq!(finished, no_action);
    call(&mut db, &mut facts, start_action()).unwrap();
    assert_eq!(
        call(&mut db, &mut facts, finish(EventResult::Success)),
        Err(Refusal::not_found("InstanceActionEvent", "compute_detach_volume"))
    );
}

#[test]
fn an_event_that_ends_in_error_marks_its_action() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    call(&mut db, &mut facts, start_action()).unwrap();
    call(&mut db, &mut facts, start_event()).unwrap();
    assert_eq!(db.events()[0].result, None);
    call(&mut db, &mut facts, finish(EventResult::Success)).unwrap();
    assert_eq!(db.actions()[0].message, None);
    call(&mut db, &mut facts, finish(EventResult::Error)).unwrap();
    assert_eq!(db.actions()[0].message.as_deref(), Some("Error"));
    assert_eq!(db.events()[0].result, Some(EventResult::Error));
}

#[test]
fn a_save_whose_task_state_is_not_the_expected_one_changes_nothing() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    db.add_instance(Instance {
        uuid: "i".into(),
        project_id: "p".into(),
        host: None,
        vm_state: VmState::Active,
        task_state: None,
        launched: true,
        locked: false,
    });
    let save = |update, expected_task_state| {
        let (uuid, update) = ("i".into(), Box::new(update));
        Call::InstanceSave(InstanceSave { uuid, update, expected_task_state })
    };
    let pausing = || InstanceUpdate::task_state(Some("pausing"));
    call(&mut db, &mut facts, save(pausing(), vec![None])).unwrap();
    let refused = call(&mut db, &mut facts, save(pausing(), vec![None])).unwrap_err();
    assert!(matches!(refused, Refusal::Remote { exception, .. }
        if exception == "UnexpectedTaskStateError"));
    let paused = InstanceUpdate {
        locked_by: Some(Some(LockedBy::Owner)),
        ..InstanceUpdate::vm_state(VmState::Paused)
    };
    call(&mut db, &mut facts, save(paused, vec![Some("pausing".to_owned())])).unwrap();
    let row = &db.instances()[0];
    assert_eq!((row.vm_state, &row.task_state, row.locked), (VmState::Paused, &None, true));
}

#[test]
fn actions_are_listed_newest_first() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    for action in ["attach_volume", "detach_volume"] {
        let start = ActionStart { instance: "i".into(), action: action.to_owned() };
        call(&mut db, &mut facts, Call::ActionStart(start)).unwrap();
    }
    let list = Call::ActionsByInstance(ActionsByInstance { instance: "i".into() });
    match call(&mut db, &mut facts, list) {
        Ok(Reply::ActionsByInstance(actions)) => {
            let names: Vec<_> = actions.iter().map(|a| a.action.as_str()).collect();
            assert_eq!(names, ["detach_volume", "attach_volume"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_is_up_until_it_is_said_to_be_down_and_an_unknown_host_has_none() {
    let (mut db, mut facts) = (NovaDb::new(), Facts::new());
    db.add_service("vm".into());
    let ask = |host: &str| Call::ServiceByHost(ServiceByHost { host: host.into() });
    let is_up = |reply: Result<Reply, Refusal>| match reply {
        Ok(Reply::ServiceByHost(service)) => Some(service.up),
        _ => None,
    };
    assert_eq!(is_up(call(&mut db, &mut facts, ask("vm"))), Some(true));
    db.set_service_up(&"vm".into(), false);
    assert_eq!(is_up(call(&mut db, &mut facts, ask("vm"))), Some(false));
    assert_eq!(
        call(&mut db, &mut facts, ask("elsewhere")),
        Err(Refusal::not_found("Service", "elsewhere"))
    );
}
