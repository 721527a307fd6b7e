//! FNV-1a, 64 bits: tells a torn line from a whole one and one campaign from another. No defence
//! against anybody who means harm.

/// A sum over bytes and texts.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Fnv {
    /// The sum of nothing.
    pub fn new() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Fnv {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self
    }

    /// Adds a text and its end, so that two texts are not one.
    #[must_use]
    pub fn text(self, text: &str) -> Fnv {
        self.bytes(text.as_bytes()).bytes(&[0])
    }

    /// The sum with all its bits mixed, for choices: the lowest bit of the sum itself is a parity
    /// (the finaliser of SplitMix64).
    pub fn mixed(self) -> u64 {
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The sum so far.
    pub fn sum(self) -> u64 {
        self.0
    }
}

impl Default for Fnv {
    fn default() -> Self {
        Fnv::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_published_function() {
        // Test vectors of draft-eastlake-fnv, appendix C.
        assert_eq!(Fnv::new().sum(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(Fnv::new().bytes(b"a").sum(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(Fnv::new().bytes(b"foobar").sum(), 0x8594_4171_f739_67e8);
    }
}
