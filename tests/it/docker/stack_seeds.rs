//! What the roadmap of BD FHIR National has people do with docker-compose, done with `compose/`.

use std::fs;
use std::time::{Duration, Instant};

use stoker_tests::repository;

use super::stack_user::Stack;

pub(super) fn work(stack: &Stack) {
    a_service_is_scaled_and_looked_at(stack);
    pools_are_as_large(stack);
    redis_wants_its_password_and_keeps_what_it_has(stack);
}

fn piece(file: &str) -> String {
    let folder = repository::root().join("tests/seeds/bd-fhir-national");
    fs::read_to_string(folder.join(file)).unwrap()
}

/// With Stoker's service in the place of theirs.
fn a_service_is_scaled_and_looked_at(stack: &Stack) {
    let run = |file: &str| {
        let text = piece(file).replace("hapi", "loader-worker");
        let commands = text.lines();
        let commands = commands.filter_map(|line| line.strip_prefix("docker-compose "));
        let mut told = String::new();
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            told = stack.compose(&words).unwrap();
        }
        told
    };
    run("02-scale-hapi.sh");
    let workers = stack.containers(Some("loader-worker")).unwrap();
    assert_eq!(workers.len(), 3);
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        // Its last command asks for the logs of all.
        let told = run("03-check-scaled-hapi.sh");
        let mut names = (1..=3).map(|n| format!("loader-worker_{n}"));
        if names.all(|name| told.contains(&name)) {
            break;
        }
        assert!(Instant::now() < deadline, "{told}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn pools_are_as_large(stack: &Stack) {
    let text = piece("04-pgbouncer-pool.yaml");
    let number_after = |words: &str| -> u64 {
        let (_, rest) = text.split_once(words).unwrap();
        let digits = rest.split(|c: char| !c.is_ascii_digit());
        digits
            .into_iter()
            .find(|d| !d.is_empty())
            .unwrap()
            .parse()
            .unwrap()
    };
    let pools = fs::read_to_string(repository::root().join("compose/pgbouncer/pgbouncer.ini"));
    let pool = number_after("PGBOUNCER_DEFAULT_POOL_SIZE");
    let line = format!("\ndefault_pool_size = {pool}\n");
    assert!(pools.unwrap().contains(&line), "{line}");
    let most = stack
        .sql("postgres", "postgres", "SHOW max_connections")
        .unwrap();
    let most: u64 = most.parse().unwrap();
    assert!(most >= number_after("max_connections ="), "{most}");
}

/// As `07-redis.yaml` has it, but that no list of processes shows the password.
fn redis_wants_its_password_and_keeps_what_it_has(stack: &Stack) {
    let ask = |command: &str| stack.exec("redis", &["sh", "-c", command]).unwrap();
    let with_password = "REDISCLI_AUTH=$(cat /run/secrets/redis-password) redis-cli";
    let kept = ask(&format!("{with_password} CONFIG GET appendonly"));
    assert_eq!(kept.lines().collect::<Vec<_>>(), ["appendonly", "yes"]);
    let refused = ask("redis-cli PING");
    assert!(refused.contains("NOAUTH"), "{refused}");
}
