//! Workers and scanners killed at random moments: nothing is missing, and nothing that the ledger held
//! as done is sent again. `make bench-kills` makes it long, by `STOKER_KILLS` and `STOKER_KILL_RESOURCES`.

use std::collections::HashMap;
use std::env;
use std::ops::Range;
use std::time::{Duration, Instant};

use chrono::{NaiveDateTime, TimeDelta};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::{Connection as _, PgConnection};
use stoker_shared::clock::{Clock as _, SystemClock};
use stoker_shared::ranges::RangeSet;
use stoker_tests::parts;
use stoker_tests::services::Service;
use tokio::task::JoinSet;

use crate::system::{IN_FLIGHT, System, loaded};

const OBJECTS: usize = 12;

/// Small ranges, so that every object is shared by workers.
const SETTINGS: [&str; 2] = ["lease=3s", "unit_bytes=1048576"];

/// Bytes of a resource's text: an object has several ranges.
const TEXT: usize = 2000;

/// How often it is compared what the ledger holds and what the server has.
const COMPARISONS: usize = 20;

fn setting(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_killed_nothing_is_missing_and_nothing_done_is_done_again() {
    let _turn = parts::turn().await;
    let kills = setting("STOKER_KILLS", 12);
    let of_an_object = setting("STOKER_KILL_RESOURCES", 14_400) / OBJECTS;
    let system = System::start(Duration::from_millis(20)).await;
    for n in 0..OBJECTS {
        let lines = (0..of_an_object).map(|i| line(&name(n), i)).collect();
        system.put_lines(&name(n), lines).await;
    }
    let mut load = Load::start(&system, of_an_object).await;
    let job_id = system.begin(&load.scanners[0]).await;
    let seed = rand::random();
    let mut rng = StdRng::seed_from_u64(seed);
    let all = (OBJECTS * of_an_object) as u64;
    let (mut workers_killed, mut resumes) = (0, JoinSet::new());
    for kill in 0..kills {
        // Spread over the whole load, however fast it is.
        let progress = all * (kill as u64 + 1) / (kills as u64 + 2);
        system.until_written(progress).await;
        let pause = Duration::from_millis(rng.random_range(0..300));
        tokio::time::sleep(pause).await;
        if let Some(pid) = load.kill_one(&mut rng) {
            workers_killed += 1;
            resumes.spawn(waits_of_units(system.ledger.clone(), pid));
        }
        if kill % kills.div_ceil(COMPARISONS) == 0 {
            load.note_done().await;
        }
    }
    let last_kill = Instant::now();
    let job = system.done(&load.scanners[0], job_id).await;
    let seconds = last_kill.elapsed().as_secs();

    let versions = load.versions();
    assert_eq!(versions.len() as u64, all, "seed {seed}: none is missing");
    assert_eq!(loaded(&job), all, "seed {seed}: each is counted once");
    for (id, version) in &load.done {
        assert_eq!(
            versions[id], *version,
            "seed {seed}: {id} was done, and was sent again"
        );
    }
    let (written, again) = (system.written(), system.written() - all);
    assert!(
        again <= workers_killed * IN_FLIGHT,
        "seed {seed}: {again} sent again"
    );
    tell(&format!(
        "{kills} kills ({workers_killed} of workers): {all} resources, {written} written, \
         {again} sent again, done {seconds} s after the last; {}",
        resumed(resumes).await
    ));
}

/// How long units waited for another worker after the leases of the killed ones had ended.
async fn resumed(mut waits: JoinSet<Vec<TimeDelta>>) -> String {
    let mut all = Vec::new();
    while let Some(waits) = waits.join_next().await {
        all.extend(waits.unwrap().iter().map(TimeDelta::num_milliseconds));
    }
    all.sort_unstable();
    let at = |part: usize| all.get(all.len() * part / 100).or(all.last());
    let [median, p99, longest] = [50, 99, 100].map(|part| at(part).copied().unwrap_or(0));
    let units = all.len();
    format!(
        "{units} units taken up after the end of their leases: median {median} ms, p99 {p99} ms, \
         longest {longest} ms"
    )
}

/// Of the units that a killed worker held, how long after the end of its lease each was taken up.
async fn waits_of_units(ledger: String, pid: u32) -> Vec<TimeDelta> {
    let mut ledger = PgConnection::connect(&ledger).await.unwrap();
    let mut held: Vec<(String, NaiveDateTime)> = sqlx::query_as(
        "SELECT lease_token, lease_expiry FROM fhirbucket.load_units \
         JOIN fhirbucket.loader_instances USING (loader_instance_id) \
         WHERE pid = $1 AND state = 'leased'",
    )
    .bind(i64::from(pid))
    .fetch_all(&mut ledger)
    .await
    .unwrap();
    let mut waits = Vec::new();
    while !held.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let still: Vec<String> = sqlx::query_scalar(
            "SELECT lease_token FROM fhirbucket.load_units \
             WHERE state = 'leased' AND lease_token = ANY($1)",
        )
        .bind(held.iter().map(|(token, _)| token).collect::<Vec<_>>())
        .fetch_all(&mut ledger)
        .await
        .unwrap();
        let now = SystemClock.now().naive_utc();
        held.retain(|(token, expiry)| {
            let waits_still = still.contains(token);
            if !waits_still {
                waits.push(now - *expiry);
            }
            waits_still
        });
    }
    waits
}

#[expect(clippy::print_stdout, reason = "the figures of a long run")]
fn tell(figures: &str) {
    println!("{figures}");
}

/// The line of an object that holds its `n`th resource.
fn line(object: &str, n: usize) -> String {
    line_with(object, n, &"x".repeat(TEXT))
}

fn line_with(object: &str, n: usize, text: &str) -> String {
    format!(
        "{{\"resourceType\":\"Patient\",\"id\":\"{object}-{n}\",\"name\":[{{\"text\":\"{text}\"}}]}}\n"
    )
}

/// Where the lines of each object begin, and where the last ends.
struct Starts(HashMap<String, Vec<u64>>);

impl Starts {
    fn new(of_an_object: usize) -> Self {
        let starts = |object: &str| {
            let mut at = 0;
            let lines = 0..of_an_object;
            let ends = lines.map(|n| {
                at += (line_with(object, n, "").len() + TEXT) as u64;
                at
            });
            std::iter::once(0).chain(ends).collect()
        };
        let names = (0..OBJECTS).map(name);
        Self(names.map(|name| (name.clone(), starts(&name))).collect())
    }

    /// The lines that lie in a range.
    fn within(&self, object: &str, range: Range<u64>) -> Range<usize> {
        let starts = &self.0[object];
        let first = starts.partition_point(|start| *start < range.start);
        let end = starts.partition_point(|start| *start <= range.end);
        first..end.saturating_sub(1).max(first)
    }
}

fn name(object: usize) -> String {
    format!("o{object}")
}

/// The services, and what the ledger has held as done at some kill.
struct Load<'s> {
    system: &'s System,
    scanners: Vec<Service>,
    workers: Vec<Service>,
    starts: Starts,
    /// What is noted of each unit.
    noted: HashMap<i64, RangeSet>,
    /// Version on the server, by id.
    done: HashMap<String, u32>,
}

impl<'s> Load<'s> {
    async fn start(system: &'s System, of_an_object: usize) -> Self {
        let scanners = vec![system.scanner(&SETTINGS), system.scanner(&SETTINGS)];
        for scanner in &scanners {
            scanner.page("/readyz").await.unwrap();
        }
        let (first, second) = (&scanners[0], &scanners[1]);
        let workers = vec![
            system.worker(&[first, second], &[]),
            system.worker(&[second, first], &[]),
            system.worker(&[first, second], &[]),
        ];
        Self {
            system,
            scanners,
            workers,
            starts: Starts::new(of_an_object),
            noted: HashMap::new(),
            done: HashMap::new(),
        }
    }

    /// Kills a service and starts it again; answers the killed process if it was a worker.
    fn kill_one(&mut self, rng: &mut StdRng) -> Option<u32> {
        let victim = rng.random_range(0..self.scanners.len() + self.workers.len());
        let is_worker = victim >= self.scanners.len();
        let service = if is_worker {
            &mut self.workers[victim - self.scanners.len()]
        } else {
            &mut self.scanners[victim]
        };
        let pid = service.pid();
        service.kill().unwrap();
        service.start_again().unwrap();
        is_worker.then_some(pid)
    }

    /// What the ledger holds as done now has been answered: its versions are final.
    async fn note_done(&mut self) {
        let mut ledger = PgConnection::connect(&self.system.ledger).await.unwrap();
        let units: Vec<(i64, String, i64, String)> = sqlx::query_as(
            "SELECT u.unit_id, b.object_name, u.range_start, u.done_ranges \
             FROM fhirbucket.load_units u \
             JOIN fhirbucket.resource_bundle_loads USING (resource_bundle_load_id) \
             JOIN fhirbucket.resource_bundles b USING (resource_bundle_id)",
        )
        .fetch_all(&mut ledger)
        .await
        .unwrap();
        for (unit, object, start, ranges) in units {
            let (object, base) = (object.trim_end_matches(".ndjson"), start.unsigned_abs());
            let noted = self.noted.entry(unit).or_default();
            let ranges: RangeSet = ranges.parse().unwrap();
            for range in ranges.iter().filter(|range| !noted.covers(range.clone())) {
                for n in self
                    .starts
                    .within(object, range.start + base..range.end + base)
                {
                    let id = format!("{object}-{n}");
                    let version = self.system.sandbox.version("Patient", &id).unwrap();
                    self.done.entry(id).or_insert(version);
                }
            }
            *noted = ranges;
        }
    }

    fn versions(&self) -> HashMap<String, u32> {
        self.system.sandbox.versions("Patient")
    }
}
