//! The JSON Schema of a scenario file, for editors and for other programs that write scenarios.
//!
//! It comes from the types of [`crate::scenario`]. Faults are the ports' types, which know no
//! schemas: the private types here mirror them, and a test holds the two together. The text is
//! published as `scenarios/scenario.schema.json`; built-in files name it in their first line.

use std::borrow::Cow;

use castoff_ports::call::operation_names;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::scenario::Scenario;

/// The schema as pretty JSON (draft 2020-12) with a final newline.
pub fn json_schema() -> String {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Scenario>();
    schema.insert("title".to_owned(), "castoff scenario".into());
    let mut value = schema.to_value();
    // Whether serde_json keeps insertion order is decided by whoever else is in the build.
    value.sort_all_objects();
    format!("{value:#}\n")
}

/// The schema of `Scenario::faults`.
pub(crate) fn faults(generator: &mut SchemaGenerator) -> Schema {
    let fault = generator.subschema_for::<Fault>();
    json_schema!({ "type": "array", "items": fault, "default": [] })
}

/// One fault at one point.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "mirror of castoff_ports::plan::Fault, for its schema")]
struct Fault {
    /// Where.
    at: FaultPoint,
    /// What.
    strike: FaultKind,
    /// Only under these policies; under all when empty.
    #[schemars(default)]
    policies: Vec<String>,
}

/// The place where a fault strikes: the n-th time that a process calls an operation for a request.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "mirror of castoff_ports::plan::FaultPoint, for its schema")]
struct FaultPoint {
    /// The calling process.
    process: Process,
    /// What it calls.
    operation: OperationName,
    /// Counts from 1; counted per process and request.
    #[schemars(default = "one", range(min = 1))]
    nth: u32,
    /// Only for this request; the first request that gets there when absent.
    request: Option<u32>,
}

fn one() -> u32 {
    1
}

/// A process of the pipeline.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "mirror of castoff_ports::Process, for its schema")]
enum Process {
    /// A user's client.
    Client,
    /// nova-api, with the conductor's steps.
    NovaApi,
    /// nova-compute.
    NovaCompute,
}

/// `system::Operation`: a list, so that editors complete it.
struct OperationName;

impl JsonSchema for OperationName {
    fn schema_name() -> Cow<'static, str> {
        "OperationName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = operation_names().collect();
        json_schema!({
            "description": "`system::Operation`.",
            "type": "string",
            "enum": names,
        })
    }
}

/// A guest's machine type.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "mirror of castoff_ports::qemu::Machine, for its schema")]
pub(crate) enum Machine {
    /// ACPI hotplug; measured: 198 to 707 ms.
    Pc,
    /// ACPI hotplug; measured: 115 ms.
    Q35,
    /// Native PCIe hotplug: 5 s after the attention button, measured: 6.17 s.
    Q35Native,
}

/// What strikes.
#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[expect(dead_code, reason = "mirror of castoff_ports::plan::FaultKind, for its schema")]
enum FaultKind {
    /// An HTTP service answers with this status at once; no effect.
    HttpError {
        /// Status.
        #[schemars(range(min = 400, max = 599))]
        status: u16,
    },
    /// A command fails with this exit code; no effect.
    CommandFails {
        /// Exit code, not 0.
        exit: i32,
    },
    /// A command of the compute host never ends: its caller waits as long as it cares to.
    Hangs,
    /// The request never arrives; no effect.
    Unreachable,
    /// Nothing that the caller sends to this system arrives, from here on for so long.
    CutOff {
        /// For how long.
        ms: u64,
    },
    /// A cast is accepted and then lost: the caller sees success, nothing happens.
    Lost,
    /// The effect happens, the connection breaks before the reply.
    ReplyLost,
    /// The effect happens, the caller is told a timeout.
    Timeout {
        /// 500 (inside the service) or 504 (a gateway).
        #[schemars(extend("enum" = [500, 504]))]
        status: u16,
        /// How long the caller waits.
        #[schemars(default = "sixty_seconds")]
        after_ms: u64,
    },
    /// The operation starts later.
    Delay {
        /// By how much.
        ms: u64,
    },
    /// The request arrives twice; the caller sees the first answer.
    Duplicate {
        /// How much later the second one starts.
        #[schemars(default)]
        after_ms: u64,
    },
    /// Something outside happens just before the operation, which then takes its course.
    Environment {
        /// What.
        event: EnvironmentEvent,
    },
    /// The calling process dies before the operation starts.
    CrashBefore {
        /// When it is started again; never when absent.
        restart_after_ms: Option<u64>,
    },
    /// The calling process dies after the effect, before it sees the reply.
    CrashAfter {
        /// When it is started again; never when absent.
        restart_after_ms: Option<u64>,
    },
}

/// What happens to the systems around the pipeline.
#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[expect(dead_code, reason = "mirror of castoff_ports::plan::EnvironmentEvent, for its schema")]
enum EnvironmentEvent {
    /// Guests stop answering unplug requests until the faults stop.
    GuestDeaf,
    /// The QEMU processes of the host die; the domains stay defined.
    QemuKilled,
    /// No portal of the target answers a login any more, until the faults stop.
    PortalsDown,
    /// Every token that was ever given out has expired.
    TokensExpired,
}

fn sixty_seconds() -> u64 {
    60_000
}
