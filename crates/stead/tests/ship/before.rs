//! What a deploy does before and after: migrations, once for the fleet, and commands of the
//! operator.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::fleet::{Fleet, PORT, QUICK, end, until};

const SERVES: &str = "\"public\", \"port={port.http}\"";

impl Fleet {
    /// Writes a release with a migration, which is a script.
    fn with_migration(&self, version: &str, script: &str) {
        self.write(version, SERVES, &self.fields_with(version, script));
    }

    fn fields_with(&self, version: &str, script: &str) -> String {
        format!(
            "sandbox = \"off\"\nmigrate = [\"/bin/bash\", \"-c\", '''{script}''', \"{version}\"]"
        )
    }

    /// The lines that migrations, or hooks, have written.
    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// A migration that writes a line with its version and what its host serves meanwhile.
    fn noting(&self) -> String {
        format!(
            "exec 3<>/dev/tcp/127.0.0.1/{PORT} && \
             printf \"GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n\" >&3 && \
             served=$(tail -n 1 <&3); echo \"$0 over ${{{{served##* }}}}\" >> {}/migrated",
            self.folder.display()
        )
    }
}

#[test]
fn a_migration_is_done_once_for_the_fleet_before_any_host_is_switched() {
    let Some(fleet) = Fleet::get("migration", 3) else { return };
    fleet.with_migration("v1", &fleet.noting());
    let said = fleet.deploy(0, &[]);
    assert!(said.contains("migrating web on h0"), "{said}");
    fleet.all_serve("v1");
    assert_eq!(fleet.lines("migrated"), ["v1 over "], "nothing served yet");
    // The same once more needs no migration, and hosts remember that.
    assert!(fleet.deploy(0, &[]).contains("web was migrated before, on h0"));
    assert_eq!(fleet.lines("migrated").len(), 1);
    fleet.with_migration("v2", &fleet.noting());
    fleet.deploy(0, &[]);
    fleet.all_serve("v2");
    assert_eq!(fleet.lines("migrated"), ["v1 over ", "v2 over v1"]);
    // One that fails leaves every host as it was, and tells why.
    fleet.with_migration("v3", "echo the table is locked; exit 3");
    let said = fleet.deploy(5, &[]);
    assert!(said.contains("`web-migrate.0` has failed"), "{said}");
    assert!(said.contains("the table is locked"), "{said}");
    assert_eq!(fleet.served(), vec![Some("v2".to_owned()); 3]);
    // A release that does not work after its migration leaves that on its host, where the next one
    // takes its place.
    let broken = format!("{SERVES}, \"never-ready\"");
    fleet.write("v4", &broken, &fleet.fields_with("v4", &fleet.noting()));
    fleet.deploy(5, &["--ready-within", "2s"]);
    assert_eq!(fleet.lines("migrated")[2..], ["v4 over v2"]);
    fleet.with_migration("v5", &fleet.noting());
    fleet.deploy(0, &[]);
    fleet.all_serve("v5");
    assert_eq!(fleet.lines("migrated")[3..], ["v5 over v2"]);
    // What comes back is the release: what a migration has done stays.
    let said = fleet.ends(0, &[&["rollback", "web"], &QUICK[..]].concat());
    assert!(said.contains("deployed: h0, h1, h2"), "{said}");
    fleet.all_serve("v2");
    assert_eq!(fleet.lines("migrated").len(), 4);
    let history: Value = serde_json::from_str(&fleet.ends(0, &["history", "--json"])).unwrap();
    let entries = |host: &str| {
        let entries = history[host]["entries"].as_array().unwrap();
        entries.iter().filter(|it| it["what"] == "migration of web").count()
    };
    assert_eq!([entries("h0"), entries("h1")], [5, 0]);
}

#[test]
fn a_migration_whose_operator_dies_is_ended_by_another_one() {
    let Some(fleet) = Fleet::get("left_migration", 2) else { return };
    let note = format!("echo $0 >> {}/migrated", fleet.folder.display());
    fleet.with_migration("v1", &note);
    fleet.deploy(0, &[]);
    fleet.with_migration("v2", &format!("{note}; sleep 4; {note}"));
    let mut deploy = fleet.command(&["deploy", "--bake", "0s"]);
    let deploy = deploy.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("it migrates", || (fleet.lines("migrated").len() == 2).then_some(()));
    drop(end(deploy, "-KILL"));
    let resume = [&["deploy", "--resume", "--take-over"], &QUICK[..]].concat();
    let said = fleet.ends(0, &resume);
    assert!(said.contains("taking over the migration of web of 1 hosts"), "{said}");
    assert_eq!(fleet.lines("migrated"), ["v1", "v2", "v2"]);
    assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 2]);
    assert!(fleet.deploy(0, &[]).contains("web was migrated before, on h0"));
    fleet.all_serve("v2");
    assert_eq!(fleet.lines("migrated").len(), 3);
}

#[test]
fn hooks_are_run_before_anything_is_changed_and_after_whatever_came_of_it() {
    let Some(fleet) = Fleet::get("hooks", 2) else { return };
    let write = |version: &str, options: &str, before: &str| {
        fleet.release(version, options);
        let file = fleet.folder.join("stead.toml");
        let text = fs::read_to_string(&file).unwrap();
        let hooks = format!(
            "[rollout]\nbefore = 'echo \"before $STEAD_HOSTS\" >> hooked; {before}'\n\
             after = 'echo \"after $STEAD_OUTCOME\" >> hooked'\n"
        );
        fs::write(file, format!("{text}\n{hooks}")).unwrap();
    };
    write("v1", "", "true");
    fleet.deploy(0, &[]);
    assert_eq!(fleet.lines("hooked"), ["before h0 h1", "after deployed"]);
    write("v2", ", \"never-ready\"", "true");
    fleet.deploy(5, &["--ready-within", "2s"]);
    assert_eq!(fleet.lines("hooked")[2..], ["before h0 h1", "after brought-back"]);
    // Where the first one fails nothing is changed, and nothing was begun that could end.
    write("v3", "", "exit 7");
    let said = fleet.deploy(5, &[]);
    assert!(said.contains("exit status: 7") && said.contains("nothing was changed"), "{said}");
    assert_eq!(fleet.lines("hooked")[4..], ["before h0 h1"]);
    assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 2]);
}
