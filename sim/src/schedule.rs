//! Every order of a run: depth-first search over its choice points, one whole run an order.
//!
//! Stateless: nothing is saved but the choices of the last run; the next one repeats them up to
//! the last point with a choice not yet tried (Godefroid, VeriSoft, POPL 1997). The bounds are on
//! turns, as in delay-bounded scheduling (Emmi, Qadeer, Rakamaric, POPL 2011), and on orders.

use std::rc::Rc;

use castoff_ports::plan::Plan;
use castoff_ports::schedule::{Schedule, Turn};

use crate::direct::Choice;
use crate::prepare::Prepared;
use crate::run::{BindingKind, Keep, RunReport, run_scheduled};

/// What bounds a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Turns of one order at most; none: without a limit.
    pub turns: Option<u8>,
    /// Choice points of one run that are varied, the first ones.
    pub points: u32,
    /// Orders at most.
    pub orders: u64,
}

impl Default for Bounds {
    /// Two turns find what needs two orderings between two requests.
    fn default() -> Self {
        Bounds { turns: Some(2), points: u32::MAX, orders: 1_000_000 }
    }
}

/// What a search came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Searched {
    /// Orders that were run, each once.
    pub orders: u64,
    /// Choice points of the longest run.
    pub longest: u32,
    /// Some order was left out because it needs more turns.
    pub turns_hit: bool,
    /// Some order was left out because it differs behind the last point that is varied.
    pub points_hit: bool,
    /// The search stopped before it was through.
    pub orders_hit: bool,
}

impl Searched {
    /// Every order that there is was run: no bound was met.
    pub fn is_complete(&self) -> bool {
        !(self.turns_hit || self.points_hit || self.orders_hit)
    }
}

/// Runs every order within `bounds`; `visit` sees each with the schedule that repeats it.
pub fn every_order(
    prepared: &Rc<Prepared>,
    seed: u64,
    extra: Option<&Plan>,
    bounds: Bounds,
    mut visit: impl FnMut(&Schedule, &RunReport),
) -> Searched {
    let mut searched = Searched::default();
    let mut turns: Vec<Turn> = Vec::new();
    loop {
        if searched.orders == bounds.orders {
            searched.orders_hit = true;
            return searched;
        }
        let schedule = Schedule::Order(turns);
        let keep = Keep::default();
        let report = run_scheduled(prepared, BindingKind::Direct, seed, extra, &schedule, keep);
        searched.orders += 1;
        searched.longest = searched.longest.max(report.choices.len() as u32);
        visit(&schedule, &report);
        match next(&report.choices, bounds, &mut searched) {
            Some(next) => turns = next,
            None => return searched,
        }
    }
}

/// The order after this one: the last choice that has another one left takes it.
fn next(choices: &[Choice], bounds: Bounds, searched: &mut Searched) -> Option<Vec<Turn>> {
    let mut used = choices.iter().filter(|c| c.taken > 0).count();
    for (at, choice) in choices.iter().enumerate().rev() {
        // Turns before this point; the one that is tried here comes on top.
        used -= usize::from(choice.taken > 0);
        if choice.taken + 1 >= choice.of {
            continue;
        }
        if at as u64 >= u64::from(bounds.points) {
            searched.points_hit = true;
            continue;
        }
        if bounds.turns.is_some_and(|most| used >= usize::from(most)) {
            searched.turns_hit = true;
            continue;
        }
        let mut turns = turns_of(&choices[..at]);
        turns.push(Turn { at: at as u32, to: choice.taken + 1 });
        return Some(turns);
    }
    None
}

/// Where a run left the default.
pub fn turns_of(choices: &[Choice]) -> Vec<Turn> {
    let taken = choices.iter().enumerate().filter(|(_, c)| c.taken > 0);
    taken.map(|(at, c)| Turn { at: at as u32, to: c.taken }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of a made-up program whose choice points are given by what was chosen before.
    fn search(bounds: Bounds, points: impl Fn(&[u8]) -> Option<u8>) -> (Vec<Vec<u8>>, Searched) {
        let (mut searched, mut seen, mut turns) = (Searched::default(), Vec::new(), Vec::new());
        loop {
            let mut taken: Vec<u8> = Vec::new();
            let mut choices = Vec::new();
            while let Some(of) = points(&taken) {
                let at = taken.len() as u32;
                let to = turns.iter().find(|t: &&Turn| t.at == at).map_or(0, |t| t.to);
                choices.push(Choice { of, taken: to });
                taken.push(to);
            }
            seen.push(taken);
            match next(&choices, bounds, &mut searched) {
                Some(n) => turns = n,
                None => return (seen, searched),
            }
        }
    }

    #[test]
    fn without_a_bound_every_leaf_of_the_tree_is_visited_once() {
        let all = Bounds { turns: None, ..Bounds::default() };
        // Two choices; after 1 comes a point with three.
        let (mut seen, searched) = search(all, |taken| match taken {
            [] => Some(2),
            [1] => Some(3),
            [_] | [0, ..] => None,
            [_, ..] if taken.len() == 2 => Some(2),
            [_, ..] => None,
        });
        assert!(searched.is_complete());
        let visited = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!((seen.len(), visited), (7, 7));
    }

    #[test]
    fn a_bound_on_turns_leaves_out_what_needs_more_and_says_so() {
        let two = Bounds { turns: Some(2), ..Bounds::default() };
        let (seen, searched) = search(two, |taken| (taken.len() < 6).then_some(2));
        // 1 + 6 + 15 of the 64 words over {0, 1}.
        assert_eq!(seen.len(), 22);
        assert!(searched.turns_hit && !searched.points_hit);
    }

    #[test]
    fn a_bound_on_points_varies_only_the_first_ones() {
        let first = Bounds { turns: None, points: 3, ..Bounds::default() };
        let (seen, searched) = search(first, |taken| (taken.len() < 6).then_some(2));
        assert_eq!(seen.len(), 8);
        assert!(searched.points_hit && !searched.turns_hit);
    }
}
