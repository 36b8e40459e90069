use chrono::DateTime;

use super::*;

/// As the platform's guide prints them.
const SINGLE_NODE: &str =
    include_str!("../../../../../tests/seeds/openhim-platform/03-mongo-backup-single-node.ini");
const CLUSTER: &str =
    include_str!("../../../../../tests/seeds/openhim-platform/04-mongo-backup-cluster.ini");

const POSTGRES: &str = r#"
[global]
save-folder = /var/log/ofelia ; reports

; Every night
[job-run "postgres-backup"]
schedule= @every 24h ;once a day
image= postgres:14
network= pg_backup
volume= /backups:/tmp/backups
volume= certs:/certs:ro
environment= PGPASSWORD=${POSTGRES_PASSWORD}
command= sh -c 'pg_basebackup -h ${PG_HOST} -p 5432 -U repmgr -D /tmp/backups/postgresql_$(date +%s) -Ft -X stream -c fast -P'
delete= true
"#;

fn around() -> Around {
    let variables = [
        ("POSTGRES_PASSWORD", "it's #1; secret"),
        ("PG_HOST", "postgres-1"),
    ];
    Around {
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        paths: BTreeMap::new(),
    }
}

/// One job, recognised.
fn native(job: &str) -> NativeJob {
    let mut read = read(job, &around()).unwrap();
    assert_eq!(read.rest, []);
    read.native.remove(0)
}

/// One job with such a command, and why it is not recognised.
fn reason(command: &str) -> String {
    let job = format!("[job-run \"x\"]\nschedule=@daily\nvolume=/backups:/b\ncommand={command}");
    let mut read = read(&job, &around()).unwrap();
    assert_eq!(read.native, [], "{command}");
    read.rest.remove(0).reason
}

#[test]
fn the_jobs_of_the_guide_are_listed_with_the_reason() {
    for text in [SINGLE_NODE, CLUSTER] {
        let read = read(text, &Around::default()).unwrap();
        assert_eq!(read.native, []);
        let rest = Rest {
            name: "mongo-backup".to_owned(),
            line: 1,
            reason: "it is a backup of MongoDB, which Stoker does not make yet".to_owned(),
        };
        assert_eq!(read.rest, [rest]);
    }
}

#[test]
fn a_base_backup_becomes_a_job_of_stoker() {
    let mut read = read(POSTGRES, &around()).unwrap();
    assert_eq!(read.rest.len(), 1);
    assert_eq!(
        (read.rest[0].name.as_str(), read.rest[0].line),
        ("global", 2)
    );
    let job = read.native.remove(0);
    assert_eq!(job.name, "postgres-backup");
    assert_eq!(job.schedule.to_string(), "@every 24h");
    assert_eq!(job.host.as_deref(), Some("postgres-1"));
    assert_eq!(job.port, Some(5432));
    assert_eq!(job.user.as_deref(), Some("repmgr"));
    assert_eq!(job.password.as_ref().unwrap().expose(), "it's #1; secret");
    assert_eq!(job.repository, PathBuf::from("/backups"));
    let time = DateTime::from_timestamp(1_769_860_800, 0).unwrap();
    assert_eq!(job.folder.at(time), "postgresql_1769860800");
    assert_eq!(job.compression, Compression::default());
    assert!(job.fast_checkpoint);
    assert_eq!(job.max_rate_kb, None);
    assert_eq!(job.notes.len(), 1);
    assert!(job.notes[0].contains("network pg_backup"));
    let shown = format!(
        "{job:?} {:?} {}",
        around(),
        serde_json::to_string(&job).unwrap()
    );
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn options_are_read_as_pg_basebackup_reads_them() {
    let with = |options: &str| {
        native(&format!(
            "[job-local \"x\"]\nschedule=30 2 * * *\ncommand=PGUSER=me /usr/bin/pg_basebackup {options}"
        ))
    };
    let job = with(
        r"--pgdata=/b/pg_$(date +%s)/ --format tar -Xs -zPv --max-rate 32M -d 'host=a user=b'",
    );
    assert_eq!(job.repository, PathBuf::from("/b"));
    assert_eq!(job.folder.before, "pg_");
    assert_eq!(job.compression.method, Method::Gzip);
    assert_eq!(job.max_rate_kb, Some(32 * 1024));
    assert_eq!(job.connection.as_ref().unwrap().expose(), "host=a user=b");
    assert_eq!(job.user.as_deref(), Some("me"));
    assert!(!job.fast_checkpoint);
    assert!(job.notes[0].starts_with("five fields"), "{:?}", job.notes);
    for (text, method, level) in [
        ("0", Method::None, None),
        ("9", Method::Gzip, Some(9)),
        ("none", Method::None, None),
        ("zstd", Method::Zstd, None),
        ("server-zstd:3", Method::Zstd, Some(3)),
        ("client-gzip:level=1", Method::Gzip, Some(1)),
        ("zstd:workers=2,level=5", Method::Zstd, Some(5)),
    ] {
        let job = with(&format!("-Ft -D/b/x$(date +%s) -Z {text}"));
        assert_eq!(job.compression, Compression { method, level }, "{text}");
    }
}

/// A command, where `TO` is `-Ft` and a folder, and why it is not recognised.
const NOT_UNDERSTOOD: &str = "
    pg_basebackup -Ft -D /b/pg | is not named by $(date +%s)
    pg_basebackup -Ft -D /b/$(date +%F)/pg_$(date +%s) | only $(date +%s) in its last part
    pg_basebackup -Ft -D /elsewhere/pg_$(date +%s) | no volume= holds /elsewhere
    pg_basebackup -D /b/pg_$(date +%s) | -Ft
    pg_basebackup -Ft | does not say where to
    pg_basebackup TO what | nothing but options
    pg_basebackup TO -X none | stand on their own
    pg_basebackup TO -R | makes a standby
    pg_basebackup TO -W | asks for a password
    pg_basebackup TO -T a=b | tablespace-mapping
    pg_basebackup TO -t server:/x | has the server keep the backup
    pg_basebackup TO --what | has no option --what
    pg_basebackup TO -Zlz4 | does not compress by \"lz4\"
    pg_basebackup TO -r 1G | no rate
    pg_basebackup TO -p many | many is no port
    pg_basebackup TO -h $NOBODY | ${NOBODY} has no value
    pg_basebackup TO -h | nothing follows
    sh -c 'pg_basebackup TO && rm /b/old' | script of several commands
    sh -c 'pg_basebackup | script of several commands
    pg_dump --format=c --file /tmp/hf_pg_backup_$(date +%s) | as statements
    find /backups -mtime +60 -delete | \"find\" is no command
";

#[test]
fn what_is_not_understood_says_why() {
    for line in NOT_UNDERSTOOD.trim().lines().map(str::trim) {
        let (command, expected) = line.split_once(" | ").unwrap();
        let told = reason(&command.replace("TO", "-Ft -D /b/pg_$(date +%s)"));
        assert!(told.contains(expected), "{command}: {told}");
    }
    let text =
        "[job-exec \"a\"]\n[job-run \"b\"]\ncommand=pg_basebackup -Ft -D /b/$(date +%s)\n[what]\n";
    let rest = read(text, &around()).unwrap().rest;
    let reasons: Vec<String> = rest.into_iter().map(|rest| rest.reason).collect();
    assert!(reasons[0].starts_with("it is a job-exec"));
    assert_eq!(reasons[1], "it has no schedule");
    assert_eq!(reasons[2], "what is not known");
}

#[test]
fn paths_go_through_volumes_to_where_stoker_sees_them() {
    let job = |volumes: &str| {
        format!(
            "[job-run \"x\"]\nschedule=@daily\n{volumes}\ncommand=pg_basebackup -Ft -D /b/c/pg_$(date +%s)"
        )
    };
    let nearest = native(&job("volume=/all:/\nvolume=/near/:/b\nvolume=/other:/bb"));
    assert_eq!(nearest.repository, PathBuf::from("/near/c"));
    let here = Around {
        paths: BTreeMap::from([
            ("/near".to_owned(), "/mnt".into()),
            ("backups".to_owned(), "/mnt/backups".into()),
        ]),
        ..around()
    };
    let seen = |volumes: &str| read(&job(volumes), &here).unwrap();
    assert_eq!(
        seen("volume=/near:/b").native[0].repository,
        PathBuf::from("/mnt/c")
    );
    assert_eq!(
        seen("volume=backups:/b/c").native[0].repository,
        PathBuf::from("/mnt/backups")
    );
    let unknown = &seen("volume=data:/b").rest[0].reason;
    assert!(unknown.contains("data/c is a named volume"), "{unknown}");
}

#[test]
fn the_form_is_that_of_ofelia() {
    let text = "\u{feff}# first\n[Job-Local \"a b\"] ; named\nSchedule = \"@daily ; not a comment\" # one\n\
                user = a \\\n  b\nuser=c\nno-overlap\n  ;last\nempty =\n";
    let sections = ini::read(text).unwrap();
    assert_eq!(sections.len(), 1);
    let section = &sections[0];
    assert_eq!(
        (section.kind.as_str(), section.name.as_str(), section.line),
        ("job-local", "a b", 2)
    );
    assert_eq!(section.value("schedule"), Some("@daily ; not a comment"));
    assert_eq!(section.values("user").collect::<Vec<_>>(), ["a b", "c"]);
    assert_eq!(section.value("no-overlap"), Some("true"));
    assert_eq!(section.value("empty"), Some(""));
    for (text, line, problem) in [
        ("a=b", 1, "no section"),
        ("[job-run \"a]\n", 1, "it is no `[kind"),
        ("\n[job-run \"a\"\n", 2, "it is no `[kind"),
        ("[a \"b\"]\nc = \"d", 2, "not closed"),
        ("[a \"b\"]\nsome words", 2, "`key = value`"),
        ("[a \"b\"]\nc = d \\", 2, "nothing follows"),
    ] {
        let bad = ini::read(text).unwrap_err();
        assert_eq!(bad.line, line, "{text}");
        assert!(bad.to_string().contains(problem), "{bad}");
    }
}
