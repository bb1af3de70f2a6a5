//! `stead import`: a fleet file from what keeps services today, with all that could not be carried
//! over. Each reader is a function from text to services; files are read and written here alone.

mod fleet_text;
mod foreground;
mod nssm;
mod pm2;
mod procfile;
mod systemd;
mod unit_file;
mod winsw;
mod words;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use stead_fleet::Fleet;

use self::fleet_text::Imported;
use crate::Context;
use crate::args::{ImportArgs, ImportKind};
use crate::failure::Failure;

/// Where systemd looks for units, the strongest first.
const UNIT_FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// What PM2 calls an ecosystem file is a program; only Node can say what it comes to.
const EVALUATE: &str = "console.log(JSON.stringify(require(process.argv[1])))";

pub(crate) fn import(ctx: &mut Context, args: &ImportArgs) -> Result<(), Failure> {
    let mut services: Vec<Imported> = Vec::new();
    for from in &args.from {
        let found = read(from, args.kind)?;
        if found.is_empty() {
            return Err(failed(from, "there is no service in it"));
        }
        services.extend(found);
    }
    make_unique(&mut services);
    let text = fleet_text::render(&services);
    let problems = Fleet::parse(&text).err();
    match &args.output {
        None => ctx.screen.write(&text)?,
        Some(path) => {
            let file = fs::File::options().write(true).create_new(true).open(path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| failed(&path.to_string_lossy(), &error.to_string()))?;
        }
    }
    let left: usize = services.iter().map(|service| service.left.len()).sum();
    let services_n = services.len();
    ctx.screen
        .note(&format!("{services_n} imported; {left} not carried over, listed in the comments"));
    match problems {
        None => Ok(()),
        Some(problems) => {
            let file = args.output.as_deref().unwrap_or(Path::new("stead.toml"));
            let file = file.to_string_lossy().into_owned();
            let rendered = problems.render(&file, &text, ctx.screen.paint_notes.0);
            Err(Failure::FleetFile { file, rendered })
        }
    }
}

fn failed(from: &str, why: &str) -> Failure {
    Failure::Import { from: from.to_owned(), why: why.to_owned() }
}

fn read(from: &str, kind: Option<ImportKind>) -> Result<Vec<Imported>, Failure> {
    let path = Path::new(from);
    let kind = kind.or_else(|| guess(path)).ok_or_else(|| {
        failed(from, "nothing tells what it is; say so with `--kind`, see `stead import --help`")
    })?;
    let text =
        |path: &Path| fs::read_to_string(path).map_err(|error| failed(from, &error.to_string()));
    let told = |found: Result<Vec<Imported>, String>| found.map_err(|why| failed(from, &why));
    match kind {
        ImportKind::Nssm => told(nssm::read(&text(path)?)),
        ImportKind::Pm2 => {
            let is_program = path.extension().is_none_or(|it| it != "json");
            let json = if is_program { evaluate(from, path)? } else { text(path)? };
            told(pm2::read(&json, path.parent().unwrap_or(Path::new("."))))
        }
        ImportKind::Procfile => told(procfile::read(&text(path)?)),
        ImportKind::Systemd => told(unit(from).and_then(|(name, texts)| {
            let read = |path: &str| fs::read_to_string(path).ok();
            systemd::read(&name, &texts, &read).map(|service| vec![service])
        })),
        ImportKind::Winsw => told(winsw::read(&text(path)?)),
    }
}

/// What a file is, by its name; what is no file is the name of a unit.
fn guess(path: &Path) -> Option<ImportKind> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let ends = |end: &str| name.ends_with(end);
    if name == "procfile" || name.starts_with("procfile.") {
        Some(ImportKind::Procfile)
    } else if ends(".xml") {
        Some(ImportKind::Winsw)
    } else if ends(".js") || ends(".cjs") || ends(".json") {
        Some(ImportKind::Pm2)
    } else if ends(".service") || !path.exists() {
        Some(ImportKind::Systemd)
    } else if ends(".nssm") || ends(".cmd") || ends(".bat") {
        Some(ImportKind::Nssm)
    } else {
        None
    }
}

fn evaluate(from: &str, path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(|error| failed(from, &error.to_string()))?;
    let output = Command::new("node").arg("-e").arg(EVALUATE).arg(path).output();
    let output = output.map_err(|error| {
        failed(from, &format!("it is a program of Node, and `node` cannot be run: {error}"))
    })?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(from, String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// The name of a unit and its texts, the weakest first: the unit, then its drop-ins by name.
fn unit(from: &str) -> Result<(String, Vec<String>), String> {
    let path = PathBuf::from(from);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or("it is no name of a unit")?;
    let name = if name.contains('.') && name.ends_with(".service") {
        name
    } else {
        format!("{name}.service")
    };
    // An instance is described by its template.
    let template = name.split_once('@').map(|(stem, _)| format!("{stem}@.service"));
    let names: Vec<&String> = [Some(&name), template.as_ref()].into_iter().flatten().collect();
    let folders = || UNIT_FOLDERS.iter().map(Path::new);
    let found = if path.is_file() {
        Some(path)
    } else {
        let all = names.iter().flat_map(|name| folders().map(move |it| it.join(name)));
        all.into_iter().find(|path| path.is_file())
    };
    let found =
        found.ok_or_else(|| format!("there is no unit `{name}` in {}", UNIT_FOLDERS.join(", ")))?;
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| error.to_string());
    let mut texts = vec![read(&found)?];
    let mut drop_ins: Vec<PathBuf> = folders()
        .flat_map(|folder| names.iter().map(move |name| folder.join(format!("{name}.d"))))
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "conf"))
        .collect();
    drop_ins.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    for path in drop_ins {
        texts.push(read(&path)?);
    }
    Ok((name, texts))
}

/// Two services of one name get numbers.
fn make_unique(services: &mut [Imported]) {
    for at in 1..services.len() {
        let (before, rest) = services.split_at_mut(at);
        let wanted = rest[0].name.clone();
        let is_taken = |name: &str| before.iter().any(|service| service.name == name);
        let mut n = 2;
        while is_taken(&rest[0].name) {
            rest[0].name = format!("{wanted}-{n}");
            n += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Service]\nType=notify\nUser=web\nExecStart=/usr/bin/web --x {y}\n\
        Nice=5\nExecReload=/bin/kill -HUP $MAINPID\n";

    const NSSM: &str = r#"nssm.exe install Billing "C:\Program Files\billing\billing.exe"
nssm.exe set Billing AppParameters "--port 80 --name \"a b\""
nssm.exe set Billing AppDirectory C:\data
nssm.exe set Billing AppExit Default Restart
nssm.exe set Billing AppEnvironmentExtra A=1 B=two
nssm.exe set Billing AppRestartDelay 2000
nssm.exe set Billing AppStopMethodConsole 4000
nssm.exe set Billing AppStdout C:\logs\out.log
nssm.exe set Billing Start SERVICE_AUTO_START"#;

    const WINSW: &str = r#"<service>
  <id>billing</id><name>Billing</name><executable>%BASE%\billing.exe</executable>
  <arguments>--port 80 "a b"</arguments><env name="HOME" value="%BASE%"/>
  <onfailure action="restart" delay="10 sec"/><stoptimeout>15 sec</stoptimeout>
  <depend>Tcpip</depend><log mode="roll"/>
</service>"#;

    const PROCFILE: &str = "web: bundle exec puma -p $PORT\n# none\nworker: node worker.js\n";

    const PM2: &str = r#"[{"script": "a.py", "name": "A 1", "instances": "max", "cron": "x"}]"#;

    #[test]
    fn what_is_written_is_a_fleet_file() {
        let files = |_: &str| None;
        let unit = systemd::read("web.service", &[UNIT.to_owned()], &files).unwrap();
        let all = [
            vec![unit],
            nssm::read(NSSM).unwrap(),
            winsw::read(WINSW).unwrap(),
            procfile::read(PROCFILE).unwrap(),
            pm2::read(PM2, Path::new("/srv")).unwrap(),
        ];
        let mut all: Vec<Imported> = all.concat();
        make_unique(&mut all);
        let text = fleet_text::render(&all);
        if let Err(problems) = Fleet::parse(&text) {
            panic!("{}\n{text}", problems.render("", &text, false));
        }
        insta::assert_snapshot!("imported", text);
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_the_reason() {
        assert!(nssm::read("hello").is_err());
        assert!(winsw::read("<a/>").is_err() && winsw::read("{").is_err());
        assert!(procfile::read("hello").is_err());
        assert!(pm2::read("3", Path::new(".")).is_err());
        let unit = systemd::read("x.service", &["[Service]\n".to_owned()], &|_: &str| None);
        assert_eq!(unit.unwrap_err(), "it has no `ExecStart`");
    }
}
