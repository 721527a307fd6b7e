//! The seed's choices: one pinned generator, whose name stands in every trace.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// The generator's name in trace headers. Another generator is another name.
pub const GENERATOR: &str = "ChaCha8";

/// A run's source of choices.
#[derive(Clone, Debug)]
pub struct SimRng(ChaCha8Rng);

impl SimRng {
    /// The generator of this seed.
    pub fn new(seed: u64) -> Self {
        SimRng(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number in `lo..=hi`, by multiply and shift: integers only, the same on every machine.
    pub fn between(&mut self, lo: u32, hi: u32) -> u32 {
        debug_assert!(lo <= hi, "empty range {lo}..={hi}");
        let span = u64::from(hi - lo) + 1;
        lo + ((u64::from(self.0.next_u32()) * span) >> 32) as u32
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.between(0, len as u32 - 1) as usize
    }

    /// 64 bits, for seeding something else.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_pinned_to_its_first_numbers() {
        // These change only when the generator changes, and then so must GENERATOR.
        let mut rng = SimRng::new(1);
        let first: Vec<u32> = (0..4).map(|_| rng.between(0, 999)).collect();
        assert_eq!(first, [549, 402, 984, 80]);
    }

    #[test]
    fn a_range_is_inclusive_and_never_left() {
        let mut rng = SimRng::new(7);
        let drawn: Vec<u32> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert!(drawn.iter().all(|n| (3..=5).contains(n)));
        assert!([3, 4, 5].iter().all(|n| drawn.contains(n)));
    }
}
