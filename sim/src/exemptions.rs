//! What `hardened` does not hold, and why no pipeline could: each with the plan that shows it.

/// A property that breaks under one fault, in a place that is not the detach pipeline's.
#[derive(Clone, Copy, Debug)]
pub struct Exemption {
    /// The scenario.
    pub scenario: &'static str,
    /// The property.
    pub property: &'static str,
    /// Whose duty it would be.
    pub owner: &'static str,
    /// What the pipeline takes for granted.
    pub assumption: &'static str,
    /// A plan that shows it, as `--fault` takes it; empty: the scenario alone.
    pub plan: &'static str,
}

/// All of them, for one fault.
pub const HARDENED: &[Exemption] = &[
    Exemption {
        scenario: "guest-never-lets-go",
        property: "S14",
        owner: "storage network",
        assumption: "the portals are up when a guest keeps its disk: a rollback cannot mend them",
        plan: "nova-compute:host::JournalWrite#1@1:portals-down",
    },
    Exemption {
        scenario: "detach-races-server-delete",
        property: "S10",
        owner: "nova, delete of a server",
        assumption: "deleting a server destroys its BDMs whatever cinder answers; the journal keeps the attachment, and the next pass deletes it",
        plan: "nova-compute:cinder::AttachmentDelete#1@1:tokens-expired",
    },
    Exemption {
        scenario: "detach-races-volume-delete",
        property: "L3",
        owner: "the user",
        assumption: "a volume that is deleted as soon as it is available cannot be detached once more",
        plan: "",
    },
];
