//! Which decisions of a policy a scenario exercises.
//!
//! The pipeline looks at most fields in every run, so that a field is read says nothing. A scenario
//! reaches it when it makes a difference: the scenario as it is, with one seed, on `direct`, is
//! prepared and run under the policy and under the policy with this one field changed, and what
//! happens is not the same. When it happens does not count. `castoff replay` shows both runs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use castoff_ports::trace::Event;
use serde::{Deserialize, Serialize};

use crate::prepare::Prepared;
use crate::run::{self, BindingKind};

/// What scenarios reach of one policy's fields. Sets alone: what is added twice counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The scenarios that were compared.
    pub scenarios: BTreeSet<String>,
    /// The fields that were changed, each with the scenarios that reach it.
    pub reached: BTreeMap<String, BTreeSet<String>>,
    /// The fields that could not be changed in some scenario: no known policy has another value, or
    /// none that works with the release and attaches the scenario's volumes.
    pub unchanged: BTreeSet<String>,
}

/// Whether the same happened, whenever it did.
fn same(one: &[Event], other: &[Event]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(a, b)| (a.who, a.request, &a.what) == (b.who, b.request, &b.what))
}

fn events(of: &Rc<Prepared>, seed: u64) -> Vec<Event> {
    run::run(of, BindingKind::Direct, seed, None, true).events
}

impl Fields {
    /// What one scenario reaches with this seed.
    pub fn of(prepared: &Rc<Prepared>, seed: u64) -> Fields {
        let Prepared { scenario, policy, release, .. } = &**prepared;
        let before = events(prepared, seed);
        let mut fields = Fields::default();
        for (field, value) in policy.alternatives() {
            if fields.reached.get(&field).is_some_and(|by| !by.is_empty()) {
                continue;
            }
            let Ok(changed) = policy.changed(&field, &value) else { continue };
            let Ok(changed) = Prepared::new(scenario, &changed, release) else { continue };
            let by = fields.reached.entry(field).or_default();
            if !same(&before, &events(&changed, seed)) {
                by.insert(scenario.argument().to_owned());
            }
        }
        fields.unchanged = policy.decisions();
        fields.unchanged.retain(|field| !fields.reached.contains_key(field));
        fields.scenarios.insert(scenario.argument().to_owned());
        fields
    }

    /// Adds what other scenarios reach.
    pub fn merge(&mut self, other: Fields) {
        self.scenarios.extend(other.scenarios);
        self.unchanged.extend(other.unchanged);
        for (field, by) in other.reached {
            self.reached.entry(field).or_default().extend(by);
        }
    }

    /// Fields that were changed, and no run was another one.
    pub fn never_reached(&self) -> Vec<&str> {
        self.reached.iter().filter(|(_, by)| by.is_empty()).map(|(f, _)| f.as_str()).collect()
    }

    /// Fields that could be changed in no scenario.
    pub fn never_changed(&self) -> Vec<&str> {
        let changed = |field: &&String| self.reached.contains_key(*field);
        self.unchanged.iter().filter(|f| !changed(f)).map(String::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a helper of a test that fails is a failed test")]

    use std::sync::Arc;

    use castoff_model::Release;
    use castoff_pipeline::policy::Policy;

    use super::*;

    fn fields(scenario: &str, policy: &str) -> Fields {
        let scenario = Arc::new(castoff_scenarios::named(scenario).unwrap());
        let policy = Policy::named(policy).unwrap();
        let release = Release::named(&policy.default_release).unwrap();
        Fields::of(&Prepared::new(&scenario, &policy, &release).unwrap(), 0)
    }

    #[test]
    fn a_decision_counts_where_the_run_is_another_one_without_it() {
        let healthy = fields("healthy", "2026.1");
        let reaches = |of: &Fields, field: &str| !of.reached[field].is_empty();
        for field in ["instance-lock", "connector-first", "guard-connection", "bdm-lookup"] {
            assert!(reaches(&healthy, field), "{field}");
        }
        // Nobody reboots, nothing is encrypted, one server has the volume, the caller may detach.
        let elsewhere = ["reboot-lock", "missing-mapping-closed", "multiattach-count"];
        for field in elsewhere.into_iter().chain(["access-rule", "root-refused"]) {
            assert!(!reaches(&healthy, field), "{field}");
            assert!(healthy.never_reached().contains(&field), "{field}");
        }
        assert!(reaches(&fields("detach-of-root-disk", "2026.1"), "root-refused"));
        assert!(reaches(&fields("detach-races-hard-reboot", "2026.1"), "reboot-lock"));
    }

    #[test]
    fn every_decision_is_reached_never_reached_or_never_changed() {
        for policy in Policy::all() {
            let found = fields("healthy", &policy.name);
            let (never, fixed) = (found.never_reached(), found.never_changed());
            let reached = found.reached.iter().filter(|(_, by)| !by.is_empty());
            let mut all: Vec<&str> = reached.map(|(field, _)| field.as_str()).collect();
            assert!(all.len() > 10 && never.len() > 10, "{all:?} {never:?}");
            all.extend(&never);
            all.extend(&fixed);
            all.sort_unstable();
            assert_eq!(all, Vec::from_iter(policy.decisions()), "{}", policy.name);
        }
        // Cinder 28 asks for the token: the release does not work without it.
        assert!(fields("healthy", "2026.1").never_changed().contains(&"service-token"));
    }

    #[test]
    fn what_is_added_twice_or_in_another_order_counts_once() {
        let (one, other) = (fields("healthy", "pike"), fields("detach-of-root-disk", "pike"));
        let mut sum = one.clone();
        sum.merge(other.clone());
        assert_eq!(sum.scenarios.len(), 2);
        assert_eq!(sum.reached["root-refused"].len(), 1);
        assert_eq!(sum.reached["bdm-lookup"].len(), 2);
        let mut again = other;
        again.merge(one.clone());
        assert_eq!(again, sum);
        again.merge(sum.clone());
        again.merge(one);
        assert_eq!(again, sum);
    }

    #[test]
    fn a_field_that_one_scenario_can_change_is_no_field_without_another_value() {
        let by = |name: &str| BTreeSet::from([name.to_owned()]);
        let mut one = Fields { unchanged: by("volume-api"), ..Fields::default() };
        assert_eq!(one.never_changed(), ["volume-api"]);
        let reached = BTreeMap::from([("volume-api".to_owned(), by("s"))]);
        one.merge(Fields { reached, ..Fields::default() });
        assert!(one.never_changed().is_empty() && one.never_reached().is_empty());
    }
}
