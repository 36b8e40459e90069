//! One large zstd object of several frames, shared by two workers of which one is killed.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::{Connection as _, PgConnection};
use stoker_shared::ranges::RangeSet;
use stoker_tests::parts;

use crate::system::{IN_FLIGHT, System, loaded};

const LINES: usize = 4000;

/// Bytes of a resource's text, which zstd makes a quarter smaller: about six units.
const TEXT: usize = 2000;

const SETTINGS: [&str; 2] = ["lease=3s", "unit_bytes=1048576"];

/// A zstd object, and what the test knows of it.
struct Packed {
    stored: Vec<u8>,
    /// Stored and decoded offset of each frame.
    frames: Vec<(u64, u64)>,
    /// Where lines end in the decoded bytes.
    ends: Vec<u64>,
}

impl Packed {
    /// Frames end anywhere, mostly within a line; some hold no line end, some are skippable.
    fn new(rng: &mut StdRng) -> Self {
        let (mut content, mut ends) = (String::new(), Vec::new());
        for n in 0..LINES {
            let text: String = (0..TEXT)
                .map(|_| char::from(rng.sample(rand::distr::Alphanumeric)))
                .collect();
            let line = format!(
                "{{\"resourceType\":\"Patient\",\"id\":\"{n}\",\"name\":[{{\"text\":\"{text}\"}}]}}\n"
            );
            content += &line;
            ends.push(content.len() as u64);
        }
        let (mut stored, mut frames) = (Vec::new(), Vec::new());
        let mut rest = content.as_bytes();
        while !rest.is_empty() {
            let length = rng.random_range(1..200_000).min(rest.len());
            let (part, others) = rest.split_at(length);
            frames.push((stored.len() as u64, (content.len() - rest.len()) as u64));
            stored.extend(zstd::encode_all(part, 1).unwrap());
            if rng.random_bool(0.2) {
                stored.extend([0x5A, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
            }
            rest = others;
        }
        Self {
            stored,
            frames,
            ends,
        }
    }

    /// Ids of the lines that a unit from a stored byte on has done.
    fn done(&self, range_start: i64, done: &RangeSet) -> Vec<String> {
        let start = u64::try_from(range_start).unwrap();
        let Some((_, base)) = self.frames.iter().find(|(stored, _)| *stored >= start) else {
            return Vec::new();
        };
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        let lines = begins.zip(&self.ends).enumerate();
        let is_done =
            |begin: u64, end: u64| begin >= *base && done.covers(begin - base..end - base);
        lines
            .filter(|(_, (begin, end))| is_done(*begin, **end))
            .map(|(n, _)| n.to_string())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_share_a_zstd_object_and_one_of_them_dies() {
    let _turn = parts::turn().await;
    let seed = rand::random();
    let packed = Packed::new(&mut StdRng::seed_from_u64(seed));
    let system = System::start(Duration::from_millis(30)).await;
    system
        .put_object("big.ndjson.zst", packed.stored.clone())
        .await;
    let scanner = system.scanner(&SETTINGS);
    scanner.page("/readyz").await.unwrap();
    let mut killed = system.worker(&[&scanner], &[]);
    let other = system.worker(&[&scanner], &[]);
    let job_id = system.begin(&scanner).await;

    system.until_written(LINES as u64 * 2 / 5).await;
    killed.kill().unwrap();
    let done = done_so_far(&system, &packed).await;
    assert!(!done.is_empty(), "seed {seed}: something was committed");
    let job = system.done(&scanner, job_id).await;

    let versions = system.sandbox.versions("Patient");
    assert_eq!(versions.len(), LINES, "seed {seed}: none is missing");
    assert_eq!(
        loaded(&job),
        LINES as u64,
        "seed {seed}: each is counted once"
    );
    for (id, version) in &done {
        assert_eq!(versions[id], *version, "seed {seed}: {id} is sent again");
    }
    let again = system.written() - LINES as u64;
    assert!(again <= IN_FLIGHT, "seed {seed}: {again} sent again");
    let run = job.run.unwrap();
    assert_eq!(
        (run.objects, run.objects_done, run.objects_parked),
        (1, 1, 0)
    );
    assert_eq!(run.bytes_done, packed.stored.len() as u64);
    drop(other);
}

/// Versions on the server of what the ledger holds as done now: they are final.
async fn done_so_far(system: &System, packed: &Packed) -> HashMap<String, u32> {
    let mut ledger = PgConnection::connect(&system.ledger).await.unwrap();
    let units: Vec<(i64, String)> =
        sqlx::query_as("SELECT range_start, done_ranges FROM fhirbucket.load_units")
            .fetch_all(&mut ledger)
            .await
            .unwrap();
    assert!(units.len() > 4, "it is shared: {units:?}");
    let begun = units.iter().filter(|(_, ranges)| !ranges.is_empty());
    assert!(begun.count() > 1, "several are at it: {units:?}");
    let versions = system.sandbox.versions("Patient");
    let ids = units
        .iter()
        .flat_map(|(start, ranges)| packed.done(*start, &ranges.parse().unwrap()));
    ids.map(|id| (id.clone(), versions[&id])).collect()
}
