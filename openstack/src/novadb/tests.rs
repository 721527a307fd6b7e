//! The same operations on the model and on SQLite with Nova's schema: the same answers; and what
//! stands in the rows.

use castoff_model::{Outcome, Release, World};
use castoff_ports::cinder::{Chap, ConnectionInfo, IscsiData};
use castoff_ports::novadb::*;
use castoff_ports::{Auth, BdmId, Lun, Process, RequestId};
use sqlx::Row as _;

use super::*;

const SCHEMA: &str = include_str!("../../schema/nova-33.sql");

struct Both {
    world: World,
    db: NovaDb,
    now: SimTime,
}

fn cx(request: u32) -> CallCx {
    CallCx {
        process: Process::NovaCompute,
        incarnation: 0,
        request: RequestId(request),
        auth: Auth::default(),
        deadline: None,
    }
}

fn run<T>(f: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(f)
}

async fn on_sqlite() -> NovaDb {
    let clock = Clock::beginning("2026-11-23T04:45:00.000000Z");
    let url = Secret::new("sqlite::memory:");
    let db = NovaDb::connect(&url, clock, Rc::default(), HostName::new("vm")).await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(db.pool()).await.unwrap();
    db
}

impl Both {
    async fn new() -> Both {
        let mut world = World::new(Release::named("2026.1").unwrap());
        let db = on_sqlite().await;
        for uuid in ["i1", "i2"] {
            world.novadb.add_instance(Instance {
                uuid: uuid.into(),
                project_id: "demo".into(),
                host: Some("vm".into()),
                vm_state: VmState::Active,
                task_state: None,
                launched: true,
                locked: false,
            });
            sqlx::query(
                "INSERT INTO instances (uuid, project_id, host, vm_state, launched_at, created_at, \
                 display_name, deleted) VALUES (?, 'demo', 'vm', 'active', '2026-11-01 00:00:00', \
                 '2026-11-01 00:00:00', '', 0)",
            )
            .bind(uuid)
            .execute(db.pool())
            .await
            .unwrap();
        }
        let mut both = Both { world, db, now: SimTime::ZERO };
        for uuid in ["i1", "i2"] {
            // The model does not date a row that it is given.
            both.world.novadb.details_mut(&uuid.into()).unwrap().launched_at = Some(SimTime::ZERO);
        }
        both.now = SimTime::from_secs(1);
        both
    }

    /// Both are asked one second later than the last time; both must say the same.
    async fn ask(&mut self, request: u32, call: Call) -> Result<Reply, Failure> {
        self.now = self.now + Duration::from_secs(1);
        let wrapped = castoff_ports::Call::NovaDb(call.clone());
        let model = match self.world.call(self.now, &cx(request), wrapped) {
            Outcome::Done(Ok(castoff_ports::Reply::NovaDb(reply))) => Ok(reply),
            Outcome::Done(Err(failure)) => Err(failure),
            outcome => panic!("{outcome:?}"),
        };
        let named = self.db.requests.number_of(&format!("req-{request}"));
        let sql = self.db.call(self.now, &cx(named.0), call.clone()).await;
        assert_eq!(sql, model, "{}", call.describe());
        sql
    }
}

fn info() -> ConnectionInfo {
    ConnectionInfo {
        driver_volume_type: "iscsi".to_owned(),
        data: IscsiData {
            target_portal: "192.0.2.20:3260".into(),
            target_iqn: "iqn.2010-10.org.openstack:volume-1".into(),
            target_lun: Lun(1).into(),
            paths: Vec::new(),
            volume_id: "v1".into(),
            device_path: Some("/dev/sda".to_owned()),
            encrypted: false,
            auth: Some(Chap { username: "u".to_owned(), password: Secret::new("hush") }),
        },
        serial: Some("v1".into()),
        connector: None,
        multiattach: false,
    }
}

fn create(instance: &str, volume: &str) -> Call {
    Call::BdmCreate(BdmCreate {
        instance: instance.into(),
        volume_id: volume.into(),
        device_name: Some("/dev/vdb".to_owned()),
    })
}

fn save(id: u32, update: BdmUpdate) -> Call {
    Call::BdmSave(BdmSave { id: BdmId(id), update })
}

#[test]
fn a_bdm_lives_on_both_as_it_does_in_the_model() {
    run(async {
        let mut both = Both::new().await;
        both.ask(1, create("i1", "v1")).await.unwrap();
        both.ask(1, create("i2", "v1")).await.unwrap();
        both.ask(1, create("i1", "v2")).await.unwrap();
        let update = BdmUpdate {
            attachment_id: Some("a1".into()),
            connection_info: Some(Box::new(info())),
            ..BdmUpdate::default()
        };
        both.ask(1, save(1, update)).await.unwrap();
        let update = BdmUpdate {
            device_name: Some("/dev/vdc".to_owned()),
            delete_on_termination: Some(true),
            tag: Some("data".to_owned()),
            ..BdmUpdate::default()
        };
        both.ask(1, save(3, update)).await.unwrap();
        let look = [
            Call::BdmsByInstance(BdmsByInstance { instance: "i1".into() }),
            Call::BdmsByVolume(BdmsByVolume { volume_id: "v1".into() }),
            Call::BdmByVolumeAndInstance(BdmByVolumeAndInstance {
                volume_id: "v1".into(),
                instance: "i1".into(),
            }),
        ];
        for call in &look {
            both.ask(2, call.clone()).await.unwrap();
        }
        let destroy = Call::BdmDestroy(BdmDestroy { id: BdmId(1) });
        both.ask(3, destroy.clone()).await.unwrap();
        // A second time it updates no row and raises nothing.
        both.ask(3, destroy).await.unwrap();
        both.ask(3, look[0].clone()).await.unwrap();
        both.ask(3, look[1].clone()).await.unwrap();
        both.ask(3, look[2].clone()).await.unwrap_err();
        both.ask(3, save(1, BdmUpdate::default())).await.unwrap_err();
    });
}

#[test]
fn a_soft_deleted_row_is_marked_with_its_id_and_keeps_the_rest() {
    run(async {
        let mut both = Both::new().await;
        both.ask(1, create("i1", "v1")).await.unwrap();
        both.ask(1, create("i1", "v2")).await.unwrap();
        both.ask(1, Call::BdmDestroy(BdmDestroy { id: BdmId(2) })).await.unwrap();
        let row = sqlx::query(
            "SELECT deleted, CAST(deleted_at AS CHAR) AS deleted_at, uuid, \
             CAST(updated_at AS CHAR) AS updated_at FROM block_device_mapping WHERE id = 2",
        )
        .fetch_one(both.db.pool())
        .await
        .unwrap();
        assert_eq!(row.get::<i64, _>("deleted"), 2);
        assert_eq!(
            row.get::<Option<String>, _>("deleted_at").as_deref(),
            Some("2026-11-23 04:45:04.000000")
        );
        assert_eq!(row.get::<Option<String>, _>("updated_at"), None);
        assert_eq!(row.get::<String, _>("uuid").len(), 36);
    });
}

#[test]
fn actions_events_and_faults_are_the_models() {
    run(async {
        let mut both = Both::new().await;
        let event = || "compute_detach_volume".to_owned();
        let start = |action: &str| {
            Call::ActionStart(ActionStart { instance: "i1".into(), action: action.into() })
        };
        let begin = || Call::EventStart(EventStart { instance: "i1".into(), event: event() });
        let finish = |result| {
            Call::EventFinish(EventFinish { instance: "i1".into(), event: event(), result })
        };
        both.ask(1, begin()).await.unwrap_err();
        both.ask(1, start("attach_volume")).await.unwrap();
        both.ask(1, finish(EventResult::Success)).await.unwrap_err();
        both.ask(1, begin()).await.unwrap();
        both.ask(1, finish(EventResult::Success)).await.unwrap();
        both.ask(2, start("detach_volume")).await.unwrap();
        both.ask(2, begin()).await.unwrap();
        let message = "Device detach failed".to_owned();
        both.ask(2, Call::FaultCreate(FaultCreate { instance: "i1".into(), message }))
            .await
            .unwrap();
        both.ask(2, finish(EventResult::Error)).await.unwrap();
        let list = Call::ActionsByInstance(ActionsByInstance { instance: "i1".into() });
        let Reply::ActionsByInstance(actions) = both.ask(3, list).await.unwrap() else { panic!() };
        assert_eq!(actions.len(), 2);
        let row = sqlx::query("SELECT code, message, host FROM instance_faults")
            .fetch_one(both.db.pool())
            .await
            .unwrap();
        assert_eq!(row.get::<i64, _>("code"), 500);
        assert_eq!(row.get::<String, _>("host"), "vm");
    });
}

#[test]
fn an_instance_is_saved_under_guard_and_destroyed_with_its_rows() {
    run(async {
        let mut both = Both::new().await;
        let save = |update: InstanceUpdate, expected: Vec<Option<String>>| {
            Call::InstanceSave(InstanceSave {
                uuid: "i1".into(),
                update: Box::new(update),
                expected_task_state: expected,
            })
        };
        let task = |t: &str| Some(t.to_owned());
        let deleting = InstanceUpdate::task_state(Some("deleting"));
        both.ask(1, save(deleting.clone(), vec![None, task("powering-off")])).await.unwrap();
        both.ask(1, save(deleting, vec![None])).await.unwrap_err();
        let off = InstanceUpdate {
            host: Some(None),
            power_state: Some(Some(castoff_ports::libvirt::PowerState::Shutdown)),
            locked_by: Some(Some(LockedBy::Admin)),
            ..InstanceUpdate::vm_state(VmState::ShelvedOffloaded)
        };
        both.ask(1, save(off, vec![task("deleting")])).await.unwrap();
        let get = Call::GetInstance(GetInstance { uuid: "i1".into() });
        both.ask(1, get.clone()).await.unwrap();
        both.ask(1, create("i1", "v1")).await.unwrap();
        let all = Call::InstancesByProject(InstancesByProject { project: Some("demo".into()) });
        both.ask(1, all.clone()).await.unwrap();
        both.ask(1, Call::InstanceDestroy(InstanceDestroy { uuid: "i1".into() })).await.unwrap();
        both.ask(1, get).await.unwrap_err();
        both.ask(1, all).await.unwrap();
        let none = Call::InstancesByProject(InstancesByProject { project: Some("other".into()) });
        both.ask(1, none).await.unwrap();
        let bdms = Call::BdmsByVolume(BdmsByVolume { volume_id: "v1".into() });
        assert_eq!(both.ask(1, bdms).await, Ok(Reply::BdmsByVolume(Vec::new())));
    });
}

#[test]
fn system_metadata_is_one_row_a_key() {
    run(async {
        let mut both = Both::new().await;
        let set = |key: &str, value: &str| {
            Call::SystemMetadataSet(SystemMetadataSet {
                instance: "i1".into(),
                key: key.into(),
                value: value.into(),
            })
        };
        both.ask(1, set("a", "1")).await.unwrap();
        both.ask(1, set("b", "1")).await.unwrap();
        both.ask(1, set("a", "2")).await.unwrap();
        let get = Call::SystemMetadataGet(SystemMetadataGet { instance: "i1".into() });
        both.ask(1, get.clone()).await.unwrap();
        let delete = Call::SystemMetadataDelete(SystemMetadataDelete {
            instance: "i1".into(),
            key: "a".into(),
        });
        both.ask(1, delete.clone()).await.unwrap();
        both.ask(1, delete).await.unwrap();
        both.ask(1, get).await.unwrap();
        let left = sqlx::query("SELECT id FROM instance_system_metadata")
            .fetch_all(both.db.pool())
            .await
            .unwrap();
        assert_eq!(left.len(), 1, "deleted for good");
    });
}

#[test]
fn a_service_is_up_for_a_minute_after_its_heartbeat_unless_forced_down() {
    run(async {
        let db = on_sqlite().await;
        for (host, seen, forced) in [
            ("fresh", Some("2026-11-23 04:45:00"), 0),
            ("late", Some("2026-11-23 04:43:00"), 0),
            ("new", None, 0),
            ("forced", Some("2026-11-23 04:45:00"), 1),
        ] {
            sqlx::query(
                "INSERT INTO services (host, binary, topic, report_count, last_seen_up, \
                 forced_down, created_at, deleted) VALUES (?, 'nova-compute', 'compute', 0, ?, ?, \
                 '2026-11-23 04:45:20', 0)",
            )
            .bind(host)
            .bind(seen)
            .bind(forced)
            .execute(db.pool())
            .await
            .unwrap();
        }
        let up = async |secs| {
            let call = Call::ServicesAll(ServicesAll {});
            match db.call(SimTime::from_secs(secs), &cx(1), call).await.unwrap() {
                Reply::ServicesAll(all) => {
                    all.into_iter().filter(|s| s.up).map(|s| s.host.to_string()).collect::<Vec<_>>()
                }
                reply => panic!("{reply:?}"),
            }
        };
        assert_eq!(up(30).await, ["fresh", "new"]);
        assert_eq!(up(75).await, ["new"]);
        let other = Call::ServiceByHost(ServiceByHost { host: "none".into() });
        assert!(db.call(SimTime::ZERO, &cx(1), other).await.is_err());
    });
}

#[test]
fn a_url_for_sqlalchemy_is_understood_and_a_password_is_in_no_error() {
    assert_eq!(
        driver_url("mysql+pymysql://nova:pw@127.0.0.1:3306/nova?charset=utf8mb3"),
        "mysql://nova:pw@127.0.0.1:3306/nova"
    );
    assert_eq!(driver_url("sqlite:///tmp/nova.db?mode=ro"), "sqlite:///tmp/nova.db?mode=ro");
    for url in ["hush://nova:hush@x", "mysql://nova:hush@["] {
        let clock = Clock::of_run(SimTime::ZERO);
        let db = run(NovaDb::connect(&Secret::new(url), clock, Rc::default(), "vm".into()));
        let said = db.err().map(|e| e.to_string()).unwrap();
        assert!(!said.contains("hush"), "{said}");
    }
}

#[test]
fn another_kind_of_volume_is_refused_and_not_taken_for_one_that_was_never_connected() {
    run(async {
        let mut both = Both::new().await;
        both.ask(1, create("i1", "v1")).await.unwrap();
        sqlx::query("UPDATE block_device_mapping SET connection_info = ?")
            .bind(r#"{"driver_volume_type": "rbd", "data": {"auth_password": "hush"}}"#)
            .execute(both.db.pool())
            .await
            .unwrap();
        let call = Call::BdmsByInstance(BdmsByInstance { instance: "i1".into() });
        let refused = both.db.call(both.now, &cx(1), call).await.unwrap_err().to_string();
        assert!(refused.contains("iSCSI") && !refused.contains("hush"), "{refused}");
    });
}
