//! Which lab plays which cases.

use castoff::conform::case::{Case, Machine};

/// Cases that a lab must have to be worth a second one beside it: a lab takes half a minute to boot.
const WORTH: usize = 8;

/// One lab to boot.
#[derive(Debug)]
pub(super) struct Lab {
    /// Its guest.
    pub(super) machine: Machine,
    /// Its cases, in their order.
    pub(super) cases: Vec<&'static Case>,
    /// Names its folder.
    pub(super) name: String,
}

/// The labs for these cases, the largest first; `at_once` of them are played side by side.
pub(super) fn share(cases: &[&'static Case], at_once: usize) -> Vec<Lab> {
    let mut labs = Vec::new();
    for machine in Machine::ALL {
        let mine: Vec<&Case> = cases.iter().copied().filter(|c| c.machine == machine).collect();
        let parts = at_once.min(mine.len() / WORTH).max(1);
        for part in 0..parts {
            // Neighbours take about as long: each part gets every so many-th.
            let cases: Vec<&Case> = mine.iter().copied().skip(part).step_by(parts).collect();
            if !cases.is_empty() {
                labs.push(Lab { machine, cases, name: format!("{}-{part}", machine.as_str()) });
            }
        }
    }
    // Stable, so that equal ones keep their order.
    labs.sort_by_key(|lab| std::cmp::Reverse(lab.cases.len()));
    labs
}

#[cfg(test)]
mod tests {
    use castoff::conform::cases;

    use super::*;

    fn all() -> Vec<&'static Case> {
        cases::all().collect()
    }

    #[test]
    fn every_case_is_played_once_by_a_lab_with_its_guest() {
        for at_once in [1, 2, 3] {
            let labs = share(&all(), at_once);
            let mut played: Vec<&str> =
                labs.iter().flat_map(|l| l.cases.iter().map(|c| c.id)).collect();
            assert!(labs.iter().all(|l| l.cases.iter().all(|c| c.machine == l.machine)));
            let mut wanted: Vec<&str> = all().iter().map(|c| c.id).collect();
            played.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(played, wanted);
        }
    }

    #[test]
    fn two_labs_share_the_cases_of_one_kind_of_guest_and_few_cases_are_not_shared() {
        let of_q35 = |labs: &[Lab]| -> Vec<usize> {
            labs.iter().filter(|l| l.machine == Machine::Q35).map(|l| l.cases.len()).collect()
        };
        let two = of_q35(&share(&all(), 2));
        assert_eq!(two.len(), 2);
        assert!(two[0].abs_diff(two[1]) <= 1, "{two:?}");
        assert_eq!(of_q35(&share(&all(), 1)).len(), 1);
        let few: Vec<&Case> = all().into_iter().take(3).collect();
        assert!(share(&few, 2).iter().all(|l| l.name.ends_with("-0")));
    }
}
