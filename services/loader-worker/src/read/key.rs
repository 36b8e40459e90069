//! Short stand-ins for what resources are called.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

/// A set of keys, which are hashes already.
pub(crate) type KeySet = HashSet<u64, BuildHasherDefault<Unchanged>>;

/// Hashes a key to itself.
#[derive(Debug, Default)]
pub(crate) struct Unchanged(u64);

impl Hasher for Unchanged {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix_all(self.0, bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// Stands for `Type/id`; see [`Request::keys`](crate::input::Request::keys).
pub(crate) fn key_of(resource_type: &str, id: &str) -> u64 {
    let lengths = (resource_type.len() as u64) << 32 | id.len() as u64;
    let name = mix_all(SEED ^ lengths, resource_type.as_bytes());
    mix_all(name, id.as_bytes())
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes bytes fast. Who makes two of them meet only has two requests wait for each other.
fn mix_all(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain([&last]);
    words.fold(hash, |hash, word| mix(hash ^ u64::from_le_bytes(*word)))
}

/// Both halves of a product, folded: every bit has a part in every other.
fn mix(word: u64) -> u64 {
    let product = u128::from(word ^ SEED) * u128::from(SEED | 1);
    let high = u64::try_from(product >> 64).unwrap_or_default();
    (word ^ SEED).wrapping_mul(SEED | 1) ^ high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_names_have_different_keys() {
        let ids = (0..5000).map(|n| format!("id-{n}"));
        let keys = ids.flat_map(|id| ["Patient", "Basic", "PatientBasic"].map(|t| key_of(t, &id)));
        assert_eq!(keys.collect::<HashSet<_>>().len(), 15_000);
        assert_ne!(key_of("Basic", "a"), key_of("Basic", "a\0"));
        assert_ne!(key_of("Basic", "ab"), key_of("Basica", "b"));
        assert_ne!(key_of("Basic", ""), key_of("Basic", "\0\0\0\0\0\0\0\0"));
    }
}
