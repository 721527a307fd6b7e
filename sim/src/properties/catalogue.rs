//! The properties in words: what each says, whose duty it is, what it assumes.

use std::fmt::Write as _;

/// Whether breaking it is a wrong step or a missing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing bad happens.
    Safety,
    /// Something good happens at last.
    Liveness,
}

/// Who can hold a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// nova-compute and os-brick: the detach pipeline itself.
    Pipeline,
    /// nova-api.
    NovaApi,
    /// Cinder and its backend.
    Cinder,
    /// Whoever asks.
    User,
    /// The host's kernel, oslo and libvirt.
    Host,
}

impl Duty {
    /// Its name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Duty::Pipeline => "pipeline",
            Duty::NovaApi => "nova-api",
            Duty::Cinder => "cinder",
            Duty::User => "user",
            Duty::Host => "host",
        }
    }
}

/// A property as a user meets it.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its id: `S01`.
    pub name: &'static str,
    /// Safety or liveness.
    pub class: Class,
    /// Its short title.
    pub title: &'static str,
    /// What it says.
    pub statement: &'static str,
    /// Whose duty it is.
    pub duty: &'static [Duty],
    /// What it takes for granted, and how it is judged where that is not plain.
    pub assumes: &'static str,
}

impl PartialEq for Property {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// What of the list is not judged.
#[derive(Clone, Copy, Debug)]
pub struct NotJudged {
    /// The property that is left out, or of which a part is.
    pub name: &'static str,
    /// What is left out.
    pub what: &'static str,
    /// Why.
    pub reason: &'static str,
}

macro_rules! property {
    ($name:literal $class:ident $title:literal [$($duty:ident),+] $statement:literal; $assumes:literal) => {
        Property {
            name: $name,
            class: Class::$class,
            title: $title,
            statement: $statement,
            duty: &[$(Duty::$duty),+],
            assumes: $assumes,
        }
    };
}

/// The properties that are checked.
pub const CATALOGUE: &[Property] = &[
    property!("S01" Safety "NoAvailableWhileLive" [Pipeline, Cinder]
        "a volume that is available, or has no attachment, is no guest's live disk and serves no guest's write";
        "an attach that is under way may have the disk before the attachment (os-attach comes last)"),
    property!("S02" Safety "UnmapAfterRemove" [Pipeline]
        "the backend unmaps a volume from a host only when that host has no SCSI disk of it";
        "nothing"),
    property!("S03" Safety "RemoveAfterRelease" [Pipeline]
        "a disk that a guest has open is never deleted, logged out or unmapped";
        "nothing"),
    property!("S04" Safety "Identity" [Pipeline]
        "every guest write to a volume reaches that volume";
        "the stamps of the blocks are the judge"),
    property!("S05" Safety "NoLostAck" [Pipeline]
        "every write that was acknowledged to the guest is on the backend when its disk or its mapping goes";
        "nothing"),
    property!("S06" Safety "SingleWriter" [NovaApi, Cinder]
        "a volume that is not multiattach is the live disk of one guest at most";
        "no live migration"),
    property!("S07" Safety "SessionOwnership" [Pipeline]
        "a session is logged out and a node record deleted only when no working disk hangs on it and no connect of another request is using it";
        "a connect uses what it made until it gives the connect_volume lock back"),
    property!("S08" Safety "CleanHost" [Pipeline]
        "a detached volume leaves no SCSI disk, map, LUKS mapping or libvirt secret, and no session or node record without a disk";
        "judged when cinder calls the volume available, and at the end"),
    property!("S09" Safety "DbAgreement" [Pipeline, NovaApi]
        "nova has a BDM exactly where cinder has an attachment, and they name the same one";
        "judged at the end"),
    property!("S10" Safety "BdmLast" [Pipeline]
        "a BDM is destroyed only when cinder has no attachment of it any more";
        "a BDM without an attachment_id needs one attachment of its volume and server to have gone"),
    property!("S11" Safety "StatusFunction" [Cinder]
        "a volume is available only without attachments, in-use and detaching only with an attached one, reserved only with a reserved one; a volume in error is not reserved";
        "no administrator has written the status; that one detach owns detaching is judged with S12"),
    property!("S12" Safety "DetachExclusion" [Pipeline, NovaApi]
        "no other worker of the server or the volume acts between two acts of a detach, and no second detach begins while the worker of the first is queued or at work and has not rolled its own back";
        "acts are changes of guest, host, cinder or BDM; detaches of different volumes need not exclude each other, nor need what is another server's own: its guest, its BDM, its attachment, a multiattach volume of which this one has no attachment any more"),
    property!("S13" Safety "RollOwn" [Pipeline]
        "roll_detaching changes a status only that the same request has set";
        "nothing"),
    property!("S14" Safety "RollbackMeansIntact" [Pipeline]
        "when a detach is rolled back to in-use, the guest's live disk and persistent config, the host's disk, the export, the attachment and the BDM are all there and work";
        "no administrator has written the status, and the server is not being shelved or deleted; a guest that lets go once os-roll_detaching is under way is L4's; both generations break it by design when the failure comes after the unplug, or after the persistent config has changed"),
    property!("S15" Safety "NoFalseSuccess" [Pipeline]
        "when a detach is called a success, the disk is gone from the live and the persistent domain";
        "success is the action event's, or that the volume is available"),
    property!("S16" Safety "ConfigCoherence" [Pipeline]
        "a running guest's live disks, its persistent config and its server's BDMs are the same; a suspended guest's saved memory has no disk without a BDM, and an active server shows no other power_state than its running guest's";
        "judged at the end"),
    property!("S17" Safety "RightConnector" [Pipeline]
        "a connection is terminated with the connector that the volume was connected with, and a guest is asked to unplug only on its server's host";
        "no live migration"),
    property!("S18" Safety "Refcount" [Pipeline, Cinder]
        "a volume is disconnected from a host, and its export removed, only when its last user there leaves";
        "users of the host are BDMs with a connection_info whose guest has the disk or that cinder has an attachment of; who leaves is known of a detach and of who has the server's lock, of others the last one may be it; users of the export cinder's attached rows; that the last one does disconnect is S08's"),
    property!("S19" Safety "ApiContract" [NovaApi]
        "nova-api answers as the table of a detach says: 202 only with a detach begun and its task queued or written down, 400, 404 and 409 only for their reasons, 5xx only while something that it needs is down, which a service that answers 403 is not; nothing begins to detach a root disk, or from a suspended, rescued or locked server";
        "of other requests than a detach 5xx alone is judged, and not of those that change a server; reasons are looked for in the world as it is when the answer arrives; of a detach that begins a lock counts that was there from before nova-api looked until it asks cinder, of a 409 one that was there at any time meanwhile, and none to an administrator"),
    property!("S20" Safety "Authz" [NovaApi, Cinder]
        "a request that is refused with 401, 403, 404 or 409 has changed nothing, no detach begins for another project's user, and an attachment that nova uses is deleted by nova alone, with a service token where cinder knows them";
        "cinder of ocata knows none"),
    property!("S21" Safety "NoDeleteUnderDetach" [Cinder]
        "cinder accepts the deletion of a volume only when no attachment operation is under way";
        "nova's last step, the BDM, is none of cinder's"),
    property!("S22" Safety "Locks" [Pipeline]
        "locks are taken in the order server, multiattach volume, guard, connect_volume, portal, without a cycle, and whoever changes sessions or disks holds connect_volume alone";
        "an in-process connect_volume is a lock while one process has it; what a dead process had begun is its own; two deliveries of one message are two workers which a lock's owner does not tell apart, so L8 judges these"),
    property!("S23" Safety "RetryMonotone" [Pipeline]
        "a second attempt with the faults off breaks none of S01 to S07, and ends detached or as the first one ended";
        "one retry by the same user"),
    property!("S24" Safety "EncryptorOrder" [Pipeline]
        "a guest gets an encrypted volume only with its LUKS mapping open or its secret defined, and lets go before the mapping is closed or the secret deleted, and those go before the host's disk; a guest that is made anew (hard reboot) keeps its secret";
        "nothing"),
    property!("S26" Safety "Notify" [Pipeline]
        "one volume.detach notification goes out for each success, after cinder's final state and before its worker destroys the BDM, and a fault or an action Error is recorded exactly for failures";
        "the notification driver swallows its errors; a nova-compute that takes up a dead one's detach, or nova-api's of a server without a host, may send a second one, as none can tell whether the first was sent; a reboot may destroy as dangling the BDM of a volume that cinder has let go of"),
    property!("S27" Safety "MonotoneDevices" [Pipeline, Host]
        "a disk leaves a guest only when it was asked for since it was plugged, and what a detach began before a host disk appeared never removes it";
        "a disk that cinder's announcement made is nobody's making"),
    property!("L1" Liveness "Terminates" [Pipeline, NovaApi]
        "each accepted DELETE ends: detached, rolled back, or an error that the user can see";
        "judged when all is quiet for the first time, before anyone retries"),
    property!("L2" Liveness "NoOrphanDetaching" [Pipeline, NovaApi]
        "no volume stays detaching when nobody works on it";
        "the faults have stopped, dead processes run again, the user has retried once"),
    property!("L3" Liveness "UserRetryable" [Pipeline, NovaApi]
        "after any end other than detached, one more DELETE by the same user with the faults off detaches the volume";
        "no administrator helps; a root disk is never detached, nor anything by a reader, by another project's user, or from a server that is locked, and a volume that another server has by now was detached from this one; a server that is suspended is resumed by its user first"),
    property!("L4" Liveness "LateUnplugReconciled" [Pipeline]
        "when the guest lets go after the detach has given up or died, the databases come to agree with it";
        "judged when the faults have stopped and all is quiet, before anyone retries: no user is needed; a guest that is off has the disks of its config"),
    property!("L5" Liveness "NoLeftover" [Pipeline]
        "at the end no detach, completed or abandoned, has left anything on the host or in one database alone";
        "S08 and S09 at the end, and the host's disks of a detach that nobody works on any more"),
    property!("L6" Liveness "Isolation" [Pipeline]
        "no detach waits longer than 590 s for a lock that work on another volume holds; a reboot or a shelve of its own server is work on this volume";
        "T_max is 530 s (eight unplug attempts of 25 s, 30 s for the device, five cinder calls of 60 s), c is 60 s; the time in which a part of the network is down does not count"),
    property!("L7" Liveness "LockRelease" [Host]
        "a process that dies holds no lock any more";
        "volume.status is no lock here: that is L2"),
    property!("L8" Liveness "NoDeadlock" [Pipeline]
        "when all is quiet nobody waits for a lock";
        "nothing"),
];

/// What is left out, each with its reason.
pub const NOT_JUDGED: &[NotJudged] = &[
    NotJudged {
        name: "S25",
        what: "MigrationSide: operations on the source use the source's connection_info alone, those on the destination the destination's",
        reason: "live migration is not modelled: there is one compute host",
    },
    NotJudged {
        name: "S06",
        what: "the two guests of one live migration before its switchover, which S06 allows",
        reason: "live migration is not modelled",
    },
    NotJudged {
        name: "S17",
        what: "that a detach is refused, or sent on, when the server has moved to another host meanwhile",
        reason: "there is one compute host; a server whose row names another one is judged",
    },
];

/// The property of this name.
pub fn named(name: &str) -> Option<&'static Property> {
    CATALOGUE.iter().find(|p| p.name == name)
}

/// `docs/properties.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Properties\n\nWritten by `cargo run -p castoff-sim --example properties`; do not edit. Every property is judged on every\nrun of `direct` and `network`: safety after each transition, liveness and agreement when all is quiet.\nA violation names the transition, the call that made it, and the facts.\n\n| property | whose duty | statement | assumes |\n|---|---|---|---|\n",
    );
    for p in CATALOGUE {
        let duty: Vec<&str> = p.duty.iter().map(|d| d.as_str()).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} {} | {} | {} | {} |",
            p.name,
            p.title,
            duty.join(", "),
            p.statement,
            p.assumes
        );
    }
    out.push_str("\n## Not judged\n\n| property | what | reason |\n|---|---|---|\n");
    for n in NOT_JUDGED {
        let _ = writeln!(out, "| {} | {} | {} |", n.name, n.what, n.reason);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_has_a_name_and_a_statement_of_its_own() {
        for (i, p) in CATALOGUE.iter().enumerate() {
            assert_eq!(named(p.name).map(|q| q.title), Some(p.title));
            assert!(CATALOGUE[i + 1..].iter().all(|q| q.name != p.name));
            let prefix = if p.class == Class::Safety { 'S' } else { 'L' };
            assert!(p.name.starts_with(prefix), "{} {:?}", p.name, p.class);
            assert!(!p.duty.is_empty() && !p.assumes.is_empty(), "{}", p.name);
        }
    }

    #[test]
    fn every_property_of_the_list_is_judged_or_left_out_with_a_reason() {
        let safety = (1..=27).map(|n| format!("S{n:02}"));
        let liveness = (1..=8).map(|n| format!("L{n}"));
        for name in safety.chain(liveness) {
            let left_out = NOT_JUDGED.iter().any(|n| n.name == name);
            assert!(named(&name).is_some() || left_out, "{name}");
        }
    }

    #[test]
    fn the_document_is_what_the_catalogue_says() {
        let written = include_str!("../../../docs/properties.md");
        assert_eq!(
            written,
            markdown(),
            "cargo run -p castoff-sim --example properties > docs/properties.md"
        );
    }
}
