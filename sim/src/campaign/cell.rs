//! One row of a campaign to be, and its name in files.

use std::ops::Range;
use std::sync::Arc;

use castoff_model::Release;
use castoff_pipeline::policy::Policy;
use castoff_ports::schedule::Schedule;
use castoff_scenarios::{Expectation, Scenario};
use serde::{Deserialize, Serialize};

use super::checksum::Fnv;
use crate::run::BindingKind;

/// Which faults strike beside those of the scenario.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Faults {
    /// None.
    #[default]
    Scenario,
    /// Those that each seed draws: see [`swarm`](super::swarm).
    Swarm,
}

impl Faults {
    /// The name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Faults::Scenario => "scenario",
            Faults::Swarm => "swarm",
        }
    }
}

/// One row of a campaign to be.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The binding.
    pub binding: BindingKind,
    /// The policy.
    pub policy: Policy,
    /// The release.
    pub release: Release,
    /// The seeds.
    pub seeds: Range<u64>,
    /// The order of steps on `direct`; an exhaustive one runs every order for each seed.
    pub schedule: Schedule,
}

/// A cell by names: all that its results need to be read by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellId {
    /// The scenario's name.
    pub scenario: String,
    /// What names it on the command line: its name or its file.
    pub argument: String,
    /// The binding.
    pub binding: BindingKind,
    /// The policy.
    pub policy: String,
    /// The release.
    pub release: String,
    /// The seeds.
    pub seeds: Range<u64>,
    /// The order of steps on `direct`.
    pub schedule: Schedule,
    /// Properties that the scenario expects this policy to break.
    pub violates: Vec<String>,
    /// Checksum of scenario, policy and release: the same names may mean something else
    /// tomorrow.
    pub sum: String,
}

impl Cell {
    /// What the scenario expects of this policy.
    pub fn expectation(&self) -> Option<&Expectation> {
        self.scenario.expect.get(&self.policy.name)
    }

    /// Its name in files.
    pub fn id(&self) -> CellId {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let sum = Fnv::new()
            .text(&json(serde_json::to_string(&*self.scenario)))
            .text(&json(serde_json::to_string(&self.policy)))
            .text(&json(serde_json::to_string(&self.release)));
        let expectation = self.expectation();
        CellId {
            scenario: self.scenario.name.clone(),
            argument: self.scenario.argument().to_owned(),
            binding: self.binding,
            policy: self.policy.name.clone(),
            release: self.release.name.clone(),
            seeds: self.seeds.clone(),
            schedule: self.schedule.clone(),
            violates: expectation.map(|e| e.violates.clone()).unwrap_or_default(),
            sum: format!("{:016x}", sum.sum()),
        }
    }
}
