//! How much of the wire a request takes.

use crate::input::Request;

/// Places of the gate that the user's own Bundles take by their number of entries; all other requests
/// take one.
#[derive(Debug, Clone, Copy)]
pub(super) struct BundleCost {
    factor: f64,
    places: u32,
}

impl BundleCost {
    /// Every request takes one place.
    pub(super) const ONE: Self = Self {
        factor: 0.0,
        places: 1,
    };

    /// A Bundle takes `factor` places for each entry, rounded down: one at least, and not more than the
    /// `places` there are, so that each can be sent.
    pub(super) fn new(factor: f64, places: usize) -> Self {
        Self {
            factor,
            places: u32::try_from(places).unwrap_or(u32::MAX).max(1),
        }
    }

    pub(super) fn of(self, request: &Request) -> u32 {
        match request.bundle {
            Some(_) => self.of_entries(request.inputs.len()),
            None => 1,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded down and saturated, as wanted"
    )]
    fn of_entries(self, entries: usize) -> u32 {
        ((entries as f64 * self.factor) as u32).clamp(1, self.places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_takes_places_by_its_entries() {
        for (factor, entries, expected) in [
            (0.0, 500, 1),
            (1.0, 7, 7),
            (1.0, 500, 40),
            (0.5, 7, 3),
            (0.1, 7, 1),
            (1.0, 0, 1),
            (f64::MAX, 9, 40),
        ] {
            let cost = BundleCost::new(factor, 40).of_entries(entries);
            assert_eq!(cost, expected, "{factor} × {entries}");
        }
        assert_eq!(BundleCost::ONE.of_entries(1000), 1);
        assert_eq!(BundleCost::new(1.0, 0).of_entries(9), 1);
    }
}
