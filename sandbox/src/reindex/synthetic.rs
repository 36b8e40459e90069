//! Resources that are nothing but a number: everything about them follows from it.

use chrono::{DateTime, TimeDelta, Utc};

/// Types of the synthetic resources, in turn.
const KINDS: [&str; 16] = [
    "Patient",
    "Encounter",
    "Condition",
    "Observation",
    "Claim",
    "Observation",
    "Procedure",
    "Observation",
    "MedicationRequest",
    "Observation",
    "Immunization",
    "ExplanationOfBenefit",
    "DiagnosticReport",
    "Observation",
    "CareTeam",
    "Medication",
];
/// So many of a type stand side by side.
const RUN: u32 = 8;
/// When the first was written, in seconds since 1970: 2020-01-01T00:00:01Z. Each next one came a second later.
const FIRST: i64 = 1_577_836_801;

/// The type of a synthetic resource.
pub(super) fn kind(slot: u32) -> &'static str {
    let index = (slot / RUN) as usize % KINDS.len();
    KINDS[index]
}

/// The first of a type in a range.
pub(super) fn first_of(wanted: &str, mut slots: std::ops::Range<u32>) -> Option<u32> {
    // A range without the type ends the search after one turn, however long it is.
    let turn = RUN * u32::try_from(KINDS.len()).ok()?;
    slots.end = slots.end.min(slots.start.saturating_add(turn));
    slots.find(|&slot| kind(slot) == wanted)
}

/// The id of a synthetic resource, which names its index id.
pub(super) fn id(index_id: u64) -> String {
    format!("synthetic-{index_id}")
}

/// The index id in the id of a synthetic resource.
pub(super) fn index_id(id: &str) -> Option<u64> {
    id.strip_prefix("synthetic-")?.parse().ok()
}

/// When a synthetic resource was written.
pub(super) fn written_at(slot: u32) -> DateTime<Utc> {
    let at = DateTime::from_timestamp(FIRST, 0).unwrap_or_default();
    at + TimeDelta::seconds(slot.into())
}

/// How many of a type (or of all) the first `slots` ones are.
pub(super) fn count(wanted: Option<&str>, slots: u32) -> u64 {
    let Some(wanted) = wanted else {
        return slots.into();
    };
    let turn = RUN * u32::try_from(KINDS.len()).unwrap_or(u32::MAX);
    let of_type = |slots: std::ops::Range<u32>| slots.filter(|&slot| kind(slot) == wanted).count();
    let (turns, rest) = (slots / turn, slots % turn);
    u64::from(turns) * of_type(0..turn) as u64 + of_type(0..rest) as u64
}

/// How many were written until then, of the first `slots`.
pub(super) fn written_until(until: DateTime<Utc>, slots: u32) -> u32 {
    let seconds = until.timestamp() - FIRST + 1;
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX).min(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_counting() {
        let slow = |wanted, n| (0..n).filter(|&slot| kind(slot) == wanted).count() as u64;
        for n in [0, 1, 8, 9, 127, 128, 129, 5_000] {
            for wanted in ["Patient", "Observation", "Basic"] {
                assert_eq!(count(Some(wanted), n), slow(wanted, n), "{wanted} {n}");
            }
            assert_eq!(count(None, n), u64::from(n));
        }
        for n in [1, 2, 100] {
            assert_eq!(written_until(written_at(n - 1), 1_000), n);
        }
        assert_eq!(written_until(DateTime::UNIX_EPOCH, 1_000), 0);
        assert_eq!(written_until(DateTime::<Utc>::MAX_UTC, 1_000), 1_000);
    }

    #[test]
    fn the_first_of_a_type_is_found_in_a_range() {
        assert_eq!(first_of("Patient", 0..1_000), Some(0));
        assert_eq!(first_of("Patient", 8..1_000), Some(128));
        assert_eq!(first_of("Patient", 8..128), None);
        assert_eq!(first_of("Basic", 0..u32::MAX), None);
        assert_eq!(index_id(&id(34)), Some(34));
    }

    #[test]
    fn every_type_is_one() {
        assert!(
            KINDS
                .iter()
                .all(|kind| crate::r4::resource_type(kind).is_some())
        );
    }
}
