//! Findings that are known: a campaign with a baseline fails for new ones only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::cell::CellId;
use super::row::Finding;
use crate::run::BindingKind;

/// The format's version.
pub const VERSION: u32 = 1;

/// One finding that is known, whatever its seed, figures and number of runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// The scenario's name.
    pub scenario: String,
    /// The binding.
    pub binding: BindingKind,
    /// The policy.
    pub policy: String,
    /// The release.
    pub release: String,
    /// What was broken.
    pub what: String,
    /// What strikes where: see [`Finding::cause`]; empty without drawn faults.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
}

/// All findings that are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The format's version.
    #[serde(rename = "castoff-baseline")]
    pub version: u32,
    /// The findings, in order.
    pub findings: BTreeSet<Known>,
}

impl Default for Baseline {
    fn default() -> Self {
        Baseline { version: VERSION, findings: BTreeSet::new() }
    }
}

/// A finding of a cell, by what makes it the same finding tomorrow.
fn known(cell: &CellId, finding: &Finding) -> Known {
    Known {
        scenario: cell.scenario.clone(),
        binding: cell.binding,
        policy: cell.policy.clone(),
        release: cell.release.clone(),
        what: finding.what.clone(),
        cause: finding.cause(),
    }
}

impl Baseline {
    /// Takes in a finding.
    pub fn add(&mut self, cell: &CellId, finding: &Finding) {
        self.findings.insert(known(cell, finding));
    }

    /// Whether it is known.
    pub fn knows(&self, cell: &CellId, finding: &Finding) -> bool {
        self.findings.contains(&known(cell, finding))
    }
}
