//! An agent that runs elsewhere, and what is configured.

use std::fs;

use serde_json::{Value, json};
use stoker_tests::services::Service;

use super::name_of;
use super::scene::{PASSWORD, Scene};

pub(super) fn configuration(scene: &Scene) -> Value {
    json!({"backup_agent": {
        "repository": {"url": scene.place()},
        "backup": {"compression": "zstd"},
        "sources": {
            "fhir": {"url": scene.server.url("keeper"), "password_file": scene.user.home().join("pw"), "schedule": "30 2 * * *", "drill_schedule": "@weekly"},
        },
    }})
}

pub(super) fn configure(scene: &Scene, config: &Value) {
    // JSON is YAML.
    fs::write(scene.user.home().join("stoker.yaml"), config.to_string()).unwrap();
}

/// Of a service that does the same.
pub(super) fn settings(scene: &Scene) -> Vec<String> {
    vec![
        format!(
            "catalog.url=sqlite:{}",
            scene.path("catalog.sqlite").display()
        ),
        format!("repository.url={}", scene.place()),
        format!("sources.fhir.url={}", scene.server.url("keeper")),
        format!(
            "sources.fhir.password_file={}",
            scene.user.home().join("pw").display()
        ),
        format!("drill.scratch={}", scene.path("scratch").display()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_needs_no_flags() {
    let scene = Scene::on_folder().await;
    configure(&scene, &configuration(&scene));
    let run = async |words: &[&str]| {
        let run = scene
            .user
            .args([&["backup"], words].concat())
            .run()
            .await
            .unwrap();
        assert_eq!(run.code, 0, "{words:?}: {run:#?}");
        run.stdout
    };
    let plan = run(&["plan"]).await;
    for word in [
        "fhir: postgresql, ",
        "30 2 * * *",
        "last backup never",
        "drills      @weekly, next due ",
        &scene.place(),
    ] {
        assert!(plan.contains(word), "{word}: {plan}");
    }
    assert!(!plan.contains(PASSWORD), "{plan}");
    let made = run(&["run"]).await;
    for word in [
        "of fhir, in ",
        "before compression",
        "as it was written",
        "time",
    ] {
        assert!(made.contains(word), "{word}: {made}");
    }
    let plan: Value = serde_json::from_str(&run(&["plan", "--json"]).await).unwrap();
    assert_eq!(plan[0]["backups"], 1, "{plan:#}");
    assert!(plan[0]["last_backup"].is_string(), "{plan:#}");
    assert!(plan[0]["next_due"].is_string(), "{plan:#}");
    let schedule = run(&["schedule"]).await;
    assert!(
        schedule.contains("backup  30 2 * * *") && schedule.contains("drill   @weekly"),
        "{schedule}"
    );

    let doctor = scene.user.args(["doctor"]).run().await.unwrap();
    assert_eq!(doctor.code, 0, "{doctor:#?}");
    for word in [
        "backup catalog",
        "holds 1 backups",
        "the primary, and it lets us replicate",
    ] {
        assert!(doctor.stdout.contains(word), "{word}: {doctor:#?}");
    }
    let shown = scene.user.args(["config"]).run().await.unwrap();
    assert!(shown.stdout.contains("backup_agent:"), "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_says_what_backups_lack() {
    let scene = Scene::on_folder().await;
    let mut config = configuration(&scene);
    let sources = &mut config["backup_agent"]["sources"];
    sources["visitor"] = json!({"url": scene.server.url("visitor")});
    sources["away"] = json!({"url": "postgres://keeper@127.0.0.1:9"});
    sources["elsewhere"] =
        json!({"url": scene.server.url("postgres"), "repository": "/proc/backups"});
    let (file, folder) = (scene.user.home().join("ofelia.ini"), scene.path("nightly"));
    let jobs = format!(
        "[job-local \"nightly\"]\nschedule = @daily\n\
         command = pg_basebackup -d {} -D {}/postgresql_$(date +%s) -Ft\n\n\
         [job-local \"clean\"]\nschedule = @daily\ncommand = rm -rf /tmp/x\n",
        scene.server.url("postgres"),
        folder.display()
    );
    fs::write(&file, jobs).unwrap();
    config["backup_agent"]["ofelia"] = json!({"file": file});
    configure(&scene, &config);
    let doctor = scene.user.args(["doctor"]).run().await.unwrap();
    assert_eq!(doctor.code, 1, "{doctor:#?}");
    let line = |what: &str| {
        let found = doctor.stdout.lines().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("{what}: {doctor:#?}"))
    };
    assert!(
        line("backup source visitor").starts_with("fail"),
        "{doctor:#?}"
    );
    assert!(
        line("backup source away").starts_with("fail"),
        "{doctor:#?}"
    );
    assert!(line("backup source fhir ").starts_with("ok"), "{doctor:#?}");
    assert!(
        line("backup repository /proc/backups").starts_with("warn"),
        "{doctor:#?}"
    );
    assert!(
        line("backup source nightly ").starts_with("ok"),
        "{doctor:#?}"
    );
    let place = format!("backup repository {}", folder.display());
    assert!(line(&place).starts_with("warn"), "{doctor:#?}");
    assert!(
        line("ofelia's file, clean (line 5)").starts_with("warn"),
        "{doctor:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_elsewhere_does_the_same() {
    let scene = Scene::on_folder().await;
    let agent = Service::start("backup-agent", &settings(&scene)).unwrap();
    agent.listening().await.unwrap();
    let url = agent.url();
    let ask = async |words: &[&str]| {
        let words = [&["backup"], words, &["--server", &url]].concat();
        scene.user.args(words).run().await.unwrap()
    };
    let ok = async |words: &[&str]| -> Value {
        let run = ask(&[words, &["--json"]].concat()).await;
        assert_eq!(run.code, 0, "{words:?}: {run:#?}");
        serde_json::from_str(&run.stdout).unwrap()
    };
    let made = ok(&["run", "fhir"]).await;
    let name = name_of(&made);
    assert_eq!(ok(&["list"]).await[0]["name"], name.as_str());
    assert_eq!(ok(&["verify", &name]).await["result"], "done");
    assert_eq!(
        ok(&["drill", "latest"]).await["backup"]["proof"]["good"],
        true
    );
    assert_eq!(ok(&["plan"]).await[0]["backups"], 1);
    let watched = ask(&["watch", "1"]).await;
    assert_eq!(watched.code, 0, "{watched:#?}");
    assert!(
        watched.stdout.contains("backup of fhir  done"),
        "{watched:#?}"
    );
    scene.flip(&name, "base.tar").await;
    assert_eq!(ask(&["verify", "latest"]).await.code, 2);
    let flags = ask(&["run", "--source", "postgres://db"]).await;
    assert_eq!(flags.code, 1, "{flags:#?}");
    assert!(flags.stderr.contains("name only the source"), "{flags:#?}");
    let relative = ask(&["restore", "latest", "--into", "here"]).await;
    assert_eq!(relative.code, 1, "{relative:#?}");
    assert!(relative.stderr.contains("full path"), "{relative:#?}");
    assert_eq!(agent.terminate().await.unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ofelia_file_is_explained() {
    let scene = Scene::on_folder().await;
    let file = "[job-run \"postgres-backup\"]\n\
                schedule = @every 24h\n\
                image = postgres:15\n\
                volume = backups:/backups\n\
                command = sh -c 'pg_basebackup -h ${DB} -U postgres -D /backups/postgresql_$(date +%s) -Ft -X stream'\n\
                \n\
                [job-local \"clean\"]\n\
                schedule = @daily\n\
                command = rm -rf /tmp/x\n";
    fs::write(scene.user.home().join("ofelia.ini"), file).unwrap();
    let words = [
        "backup",
        "schedule",
        "--ofelia",
        "ofelia.ini",
        "--var",
        "DB=db",
        "--path",
        "backups=/mnt/backups",
    ];
    let run = scene.user.args(words).run().await.unwrap();
    assert_eq!(run.code, 0, "{run:#?}");
    let native = "runs     postgres-backup: @every 24h, postgres@db to /mnt/backups";
    assert!(run.stdout.contains(native), "{run:#?}");
    assert!(run.stdout.contains("not run  clean (line 7)"), "{run:#?}");
    let asked = [&words[..], &["--json"]].concat();
    let json = scene.user.args(asked).run().await.unwrap();
    let read: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(read["native"][0]["repository"], "/mnt/backups", "{read:#}");
    assert_eq!(read["rest"][0]["name"], "clean");
}
