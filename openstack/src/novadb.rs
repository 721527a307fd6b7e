//! Nova's database over SQL: the statements of nova's own db api, on its own tables.
//!
//! Every operation is one transaction, as there. Rows are deleted softly (`deleted` = `id`,
//! `deleted_at`), but those of instance_system_metadata. A transaction that the database gave up
//! because of another one is tried again, as oslo.db does. The statements are plain SQL that SQLite,
//! MySQL and MariaDB understand alike, through sqlx's `Any`.
//!
//! - `bdms`, `instances`, `actions`, `metadata`, `services`: a file a table.
//! - `column`: values of columns, whatever the database makes of their types.
//! - `error`: what a database error means to the caller.

mod actions;
mod bdms;
mod column;
mod error;
mod instances;
mod metadata;
mod services;
#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::time::Duration;

use castoff_ports::novadb::{Call, Reply};
use castoff_ports::{CallCx, Failure, HostName, Secret, SimTime};
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyPool, Transaction};

use self::error::DbError;
use crate::{Clock, Requests};

/// How often a transaction is begun that loses a race: once, and five times more (oslo.db's
/// max_retries). Here that is done for every operation and at once; nova does it for some, with
/// pauses.
const TRIES: u32 = 6;

/// How long a caller waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Seconds after its last heartbeat at which a service is taken for down, `service_down_time`.
const SERVICE_DOWN_TIME: Duration = Duration::from_secs(60);

/// Nova's (cell) database.
pub struct NovaDb {
    pool: AnyPool,
    clock: Clock,
    requests: Rc<Requests>,
    /// `CONF.host` of whoever writes action events and faults.
    host: HostName,
}

/// One operation under way.
struct Work<'a> {
    tx: Transaction<'static, Any>,
    db: &'a NovaDb,
    cx: &'a CallCx,
    /// Now, as a column takes it.
    date: String,
}

impl NovaDb {
    /// Connects to `url`: `mysql://user:password@host:port/nova`, `mariadb://…` or
    /// `sqlite://path`; SQLAlchemy's `mysql+pymysql://` is understood too.
    ///
    /// # Errors
    /// The database is not there; the text has no password.
    pub async fn connect(
        url: &Secret,
        clock: Clock,
        requests: Rc<Requests>,
        host: HostName,
    ) -> Result<NovaDb, Failure> {
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new().acquire_timeout(CONNECT_TIMEOUT);
        // Every connection to SQLite's memory would be a database of its own.
        let one = url.reveal().starts_with("sqlite");
        let options = options.max_connections(if one { 1 } else { 5 });
        let pool = options.connect(&driver_url(url.reveal())).await.map_err(error::failure)?;
        Ok(NovaDb { pool, clock, requests, host })
    }

    /// The pool, for a program that prepares a database.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Carries out one operation.
    ///
    /// # Errors
    /// A row that is not there, a guarded update that found something else, a database that is gone.
    pub async fn call(&self, now: SimTime, cx: &CallCx, call: Call) -> Result<Reply, Failure> {
        let mut tries = 1;
        loop {
            match self.transaction(now, cx, call.clone()).await {
                Err(DbError::Sql(e)) if tries < TRIES && error::lost_a_race(&e) => tries += 1,
                Err(DbError::Sql(e)) => return Err(error::failure(e)),
                Err(DbError::Refused(refusal)) => return Err(refusal.into()),
                Ok(reply) => return Ok(reply),
            }
        }
    }

    async fn transaction(&self, now: SimTime, cx: &CallCx, call: Call) -> Result<Reply, DbError> {
        let tx = self.pool.begin().await?;
        let mut work = Work { tx, db: self, cx, date: self.clock.date(now) };
        // Dropped on an error, the transaction is rolled back.
        let reply = work.carry_out(call).await?;
        work.tx.commit().await?;
        Ok(reply)
    }
}

impl Work<'_> {
    async fn carry_out(&mut self, call: Call) -> Result<Reply, DbError> {
        Ok(match call {
            Call::GetInstance(c) => Reply::GetInstance(self.instance(&c.uuid).await?),
            Call::BdmsByInstance(c) => {
                Reply::BdmsByInstance(self.bdms("instance_uuid", c.instance.as_str()).await?)
            }
            Call::BdmByVolumeAndInstance(c) => {
                Reply::BdmByVolumeAndInstance(self.bdm_of(&c.volume_id, &c.instance).await?)
            }
            Call::BdmsByVolume(c) => {
                Reply::BdmsByVolume(self.bdms("volume_id", c.volume_id.as_str()).await?)
            }
            Call::BdmCreate(c) => Reply::BdmCreate(self.bdm_create(c).await?),
            Call::BdmSave(c) => Reply::BdmSave(self.bdm_save(c.id, c.update).await?),
            Call::BdmDestroy(c) => Reply::BdmDestroy(self.bdm_destroy(c.id).await?),
            Call::ActionStart(c) => Reply::ActionStart(self.action_start(c).await?),
            Call::EventStart(c) => Reply::EventStart(self.event_start(c).await?),
            Call::EventFinish(c) => Reply::EventFinish(self.event_finish(c).await?),
            Call::FaultCreate(c) => Reply::FaultCreate(self.fault_create(c).await?),
            Call::InstanceSave(c) => Reply::InstanceSave(self.instance_save(c).await?),
            Call::InstanceDestroy(c) => {
                Reply::InstanceDestroy(self.instance_destroy(&c.uuid).await?)
            }
            Call::GetServerDetails(c) => Reply::GetServerDetails(self.details(&c.uuid).await?),
            Call::InstancesByProject(c) => {
                Reply::InstancesByProject(self.instances_by_project(c.project.as_ref()).await?)
            }
            Call::ServicesAll(_) => Reply::ServicesAll(self.services().await?),
            Call::ActionsByInstance(c) => {
                Reply::ActionsByInstance(self.actions(&c.instance).await?)
            }
            Call::SystemMetadataGet(c) => {
                Reply::SystemMetadataGet(self.system_metadata(&c.instance).await?)
            }
            Call::SystemMetadataSet(c) => {
                Reply::SystemMetadataSet(self.system_metadata_set(c).await?)
            }
            Call::SystemMetadataDelete(c) => {
                Reply::SystemMetadataDelete(self.system_metadata_delete(c).await?)
            }
            Call::ServiceByHost(c) => Reply::ServiceByHost(self.service(&c.host).await?),
        })
    }

    /// The name of the request that is served.
    fn request(&self) -> String {
        self.db.requests.name(self.cx.request)
    }
}

/// sqlx's spelling of a URL that was written for SQLAlchemy.
fn driver_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let dialect = scheme.split('+').next().unwrap_or(scheme);
    // SQLAlchemy's options (charset=utf8mb3) are none of sqlx's.
    let rest = if dialect == "sqlite" { rest } else { rest.split('?').next().unwrap_or(rest) };
    format!("{dialect}://{rest}")
}
