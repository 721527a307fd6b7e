//! What `hardened` does not hold, and why the detach pipeline could not: each with a plan that
//! shows it.

use castoff_ports::plan::Fault;

use crate::explore::Cause;

/// A property that breaks in a place that is not the detach pipeline's.
#[derive(Clone, Copy, Debug)]
pub struct Exemption {
    /// Where: a scenario, or `*` for all.
    pub scenario: &'static str,
    /// The property.
    pub property: &'static str,
    /// A kind of fault that the plan must have; none: whatever else goes wrong.
    pub fault: Option<&'static str>,
    /// A request that a fault of the plan must strike, by its number; none: any.
    pub request: Option<u32>,
    /// Whose duty it would be.
    pub owner: &'static str,
    /// What the pipeline takes for granted.
    pub assumption: &'static str,
    /// A plan that shows it, its faults as `--fault` takes them, of `guest-never-lets-go` where the
    /// scenario is any; empty: the scenario alone.
    pub plan: &'static str,
}

impl Exemption {
    /// Whether it speaks of this property, broken by this plan.
    pub fn covers(&self, scenario: &str, property: &str, plan: &[Fault]) -> bool {
        let has = |f: &Fault| {
            self.fault.is_none_or(|kind| f.strike.as_str() == kind)
                && self.request.is_none_or(|r| f.at.request == Some(castoff_ports::RequestId(r)))
        };
        (self.scenario == "*" || self.scenario == scenario)
            && self.property == property
            && (self.fault.is_none() && self.request.is_none() || plan.iter().any(has))
    }
}

/// The exemption of a policy that speaks of this cause; other policies than `hardened` have none.
pub fn exempt(policy: &str, scenario: &str, cause: &Cause) -> Option<&'static Exemption> {
    exempt_plan(policy, scenario, cause.property.name, &cause.plan)
}

/// The exemption of a policy that speaks of this property, broken by this plan: the smallest that
/// breaks it.
pub fn exempt_plan(
    policy: &str,
    scenario: &str,
    property: &str,
    plan: &[Fault],
) -> Option<&'static Exemption> {
    let mut all = HARDENED.iter().filter(|_| policy == "hardened");
    all.find(|e| e.covers(scenario, property, plan))
}

/// Whether all that a plan has broken is exempt.
pub fn all_exempt<'a>(
    policy: &str,
    scenario: &str,
    mut broken: impl Iterator<Item = &'a str>,
    plan: &[Fault],
) -> bool {
    broken.all(|property| exempt_plan(policy, scenario, property, plan).is_some())
}

/// os-reset_status with attach_status asks nobody and deletes the attachment at once.
const RESET: Exemption = Exemption {
    scenario: "detach-races-reset-status",
    property: "",
    fault: None,
    request: None,
    owner: "the administrator",
    assumption: "whoever gives a volume free by os-reset_status has looked that nobody has it; the reconciler takes it from the guest afterwards",
    plan: "",
};

/// With another open-iscsi underneath, os-brick does not take the lock of the backend: the LUN of an
/// attach comes into the session that a detach logs out of, or its login brings back the disk that
/// the detach has taken from the host.
const OPEN_ISCSI: Exemption = Exemption {
    scenario: "open-iscsi-downgraded",
    property: "",
    fault: None,
    request: Some(2),
    owner: "whoever replaces open-iscsi",
    assumption: "nova-compute starts anew, or connects a volume, before it next detaches one: os-brick hears of another open-iscsi in no other way",
    plan: "client:keystone::CreateToken#1@2:unreachable \
           nova-compute:cinder::AttachmentDelete#1@1:unreachable",
};

/// All of them.
pub const HARDENED: &[Exemption] = &[
    Exemption {
        scenario: "*",
        property: "S14",
        fault: Some("portals-down"),
        request: None,
        owner: "storage network",
        assumption: "the portals are up when a guest keeps its disk: a rollback cannot mend them",
        plan: "nova-compute:host::JournalWrite#1@1:portals-down",
    },
    Exemption {
        scenario: "detach-races-volume-delete",
        property: "L3",
        fault: None,
        request: None,
        owner: "the user",
        assumption: "a volume that is deleted as soon as it is available cannot be detached once more",
        plan: "",
    },
    Exemption {
        scenario: "detach-from-shelved-server-by-old-client",
        property: "L3",
        fault: None,
        request: None,
        owner: "the user's client",
        assumption: "whoever detaches from a shelved server asks for microversion 2.20 or a newer one",
        plan: "",
    },
    Exemption {
        property: "S07",
        plan: "client:keystone::CreateToken#1@2:unreachable",
        ..OPEN_ISCSI
    },
    Exemption { property: "L5", ..OPEN_ISCSI },
    Exemption { property: "S02", ..OPEN_ISCSI },
    Exemption { property: "S08", ..OPEN_ISCSI },
    Exemption { property: "S12", ..OPEN_ISCSI },
    Exemption { property: "S01", ..RESET },
    Exemption { property: "S08", ..RESET },
    Exemption { property: "S15", ..RESET },
    Exemption { property: "S20", ..RESET },
];
