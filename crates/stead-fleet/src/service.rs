//! One service: from its raw table to what it is on each system.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stead_core::names::ServiceName;
use stead_core::plan::{Limits, LogLimits, Replace, Requests, Restart, Stop, When};
use stead_core::signal::Signal;

use crate::across::told_once;
use crate::assemble::Written;
use crate::fleet::{FleetStop, Os, Program, ReleaseFile, Service};
use crate::leaf::{Argv, StopSignal, Text};
use crate::places::Known;
use crate::problem::{Problem, escaped, quoted};
use crate::raw::{Env, RawSandbox, RawService, RawStop, RawVariant};
use crate::read::{At, Field, Named, Reader, Span};
use crate::sandbox::{AbsolutePath, sandbox};
use crate::secret::EnvValue;

/// The service; `None` if something is wrong that leaves it without a meaning, which was said.
pub(crate) fn service(
    written: Written<'_>,
    systems: &BTreeSet<Os>,
    reader: &mut Reader<'_>,
) -> Option<Service> {
    let Written { name, raw, on } = written;
    let mut part = Part { name, raw, reader };
    part.check_places(systems);
    part.check_stops(systems);
    part.check_inherit();
    let programs: Vec<_> =
        systems.iter().map(|os| part.program(*os).map(|program| (*os, program))).collect();
    let ready = part.probe("ready", &raw.ready);
    let live = part.probe("live", &raw.live);
    let startup = part.startup(&raw.startup);
    let listen = part.listen();
    let reload = part.reload(systems);
    let front = part.front(systems);
    let migration = part.migration();
    let schedule = part.schedule();
    let limits = raw.limits.value();
    let keep = raw.log.value().and_then(|log| log.keep.value());
    Some(Service {
        name: name.value.clone(),
        on,
        count: raw.count.value().map_or(1, |count| count.0),
        ports: part.ports()?,
        needs: values(raw.needs.value().map(|list| &*list.items)).cloned().collect(),
        directory: part.directory(),
        inherit: values(raw.inherit.value().map(|list| &*list.items))
            .map(|name| name.0.clone())
            .collect(),
        group: raw.group.value().map(|group| group.0.clone()),
        umask: raw.umask.value().copied().unwrap_or_default(),
        new_privileges: raw.new_privileges.value().copied().unwrap_or(false),
        ready: ready?,
        live: live?,
        startup: startup?,
        replace: replace(raw, !listen.is_empty() || !raw.front.is_absent()),
        front: front?,
        listen,
        reload: reload?,
        migration: migration?,
        sandbox: sandbox(&raw.sandbox),
        restart: restart(raw),
        schedule: schedule?,
        limits: limits.map_or_else(Limits::default, |limits| Limits {
            memory: limits.memory.value().map(|size| size.0),
            cpu: limits.cpu.value().copied(),
            processes: limits.processes.value().map(|processes| processes.0),
            files: limits.files.value().map(|files| u64::from(files.0)),
            io_weight: limits.io_weight.value().and_then(|it| u16::try_from(it.0).ok()),
            enforce: limits.enforce.value().copied().unwrap_or_default(),
        }),
        requests: raw.requests.value().map_or_else(Requests::default, |requests| Requests {
            memory: requests.memory.value().map(|size| size.0),
            cpu: requests.cpu.value().copied(),
        }),
        log: keep.map_or_else(LogLimits::default, |keep| LogLimits { keep: keep.0 }),
        programs: programs.into_iter().collect::<Option<_>>()?,
    })
}

fn values<T>(list: Option<&[At<T>]>) -> impl Iterator<Item = &T> {
    list.unwrap_or(&[]).iter().map(|item| &item.value)
}

fn restart(raw: &RawService) -> Restart {
    // The next run of one that has its times comes at the next of them.
    let when = if raw.schedule.is_absent() { When::Always } else { When::Never };
    let default = Restart { when, ..Restart::default() };
    let Some(said) = raw.restart.value().map(|restart| &restart.0) else { return default };
    let backoff = said.backoff.value();
    Restart {
        when: said.when.value().copied().unwrap_or(default.when),
        backoff_min: backoff.map_or(default.backoff_min, |backoff| backoff.min),
        backoff_max: backoff.map_or(default.backoff_max, |backoff| backoff.max),
        reset_after: said.reset_after.value().map_or(default.reset_after, |after| after.0),
    }
}

fn replace(raw: &RawService, listens: bool) -> Replace {
    let default = Replace { overlap: listens, ..Replace::default() };
    let Some(said) = raw.replace.value() else { return default };
    Replace {
        overlap: said.overlap.value().copied().unwrap_or(default.overlap),
        within: said.within.value().map_or(default.within, |within| within.0),
    }
}

/// The field of the variant if it is there, else that of the service.
fn either<'a, T>(variant: Option<&'a Field<T>>, base: &'a Field<T>) -> &'a Field<T> {
    variant.filter(|field| !field.is_absent()).unwrap_or(base)
}

pub(crate) fn texts(argv: &Argv) -> Vec<String> {
    argv.0.iter().map(|text| text.value.0.clone()).collect()
}

/// One service while it is read.
pub(crate) struct Part<'a, 'r, 't> {
    pub(crate) name: &'a At<ServiceName>,
    pub(crate) raw: &'a RawService,
    pub(crate) reader: &'r mut Reader<'t>,
}

impl<'a> Part<'a, '_, '_> {
    pub(crate) fn path(&self, field: &str) -> String {
        format!("service.{}.{field}", self.name.value)
    }

    pub(crate) fn say(&mut self, span: &Span, what: String, because: &str, try_this: &str) {
        self.reader.push(Problem::new(span.clone(), what, because, try_this));
    }

    fn variant(&self, os: Os) -> Option<&'a RawVariant> {
        match os {
            Os::Linux => self.raw.linux.value(),
            Os::Windows => self.raw.windows.value().map(|own| &own.variant),
        }
    }

    fn variants(&self) -> impl Iterator<Item = (Os, &'a RawVariant)> + use<'a> {
        let all = [Os::Linux, Os::Windows].map(|os| (os, self.variant(os)));
        all.into_iter().filter_map(|(os, variant)| Some((os, variant?)))
    }

    fn ports(&self) -> Option<BTreeMap<String, u16>> {
        let entries = self.raw.port.value().map_or(&[][..], |Named(entries)| entries);
        let port = |value: &At<crate::raw::Port>| u16::try_from(value.value.0).ok();
        entries
            .iter()
            .map(|entry| Some((entry.key.value.0.clone(), port(entry.value.as_ref()?)?)))
            .collect()
    }

    /// The ports by name, unless what is written there is wrong.
    pub(crate) fn port_names(&self) -> Option<Vec<&'a str>> {
        match &self.raw.port {
            Field::Absent => Some(Vec::new()),
            Field::Bad => None,
            Field::Given(At { value: Named(entries), .. }) => {
                Some(entries.iter().map(|entry| entry.key.value.0.as_str()).collect())
            }
        }
    }

    /// Checks the places of every text, also those of a system that no host has.
    fn check_places(&mut self, systems: &BTreeSet<Os>) {
        let raw = self.raw;
        let files = |os: &Os| either(self.variant(*os).map(|own| &own.files), &raw.files);
        let release = systems.iter().all(|os| !files(os).is_absent());
        let configs = |os: &Os| either(self.variant(*os).map(|own| &own.config), &raw.config);
        let config = systems.iter().all(|os| !configs(os).is_absent());
        let known = Known { service: &self.name.value, ports: self.port_names(), release, config };
        let execs = [
            ("ready", raw.ready.value().map(|probe| &probe.exec)),
            ("live", raw.live.value().map(|probe| &probe.exec)),
            ("startup", raw.startup.value().map(|startup| &startup.probe.exec)),
        ];
        let mut found: Vec<(String, &At<Text>)> = Vec::new();
        let mut argv = |path: String, field: &'a Field<Argv>| {
            let items = field.value().map_or(&[][..], |argv| &argv.0);
            found.extend(items.iter().enumerate().map(|(n, text)| (format!("{path}[{n}]"), text)));
        };
        argv(self.path("run"), &raw.run);
        for (field, exec) in execs {
            if let Some(exec) = exec {
                argv(self.path(&format!("{field}.exec")), exec);
            }
        }
        argv(self.path("migrate"), &raw.migrate);
        if let Some(reload) = raw.reload.value() {
            argv(self.path("reload.hook"), &reload.hook);
        }
        if let Some(stop) = raw.stop.value() {
            argv(self.path("stop.hook"), &stop.hook);
        }
        for (os, own) in self.variants() {
            argv(self.path(&format!("{}.run", os.as_str())), &own.run);
            if let Some(stop) = own.stop.value() {
                argv(self.path(&format!("{}.stop.hook", os.as_str())), &stop.hook);
            }
        }
        let loosened = match raw.sandbox.value() {
            Some(RawSandbox::On(loosened)) => Some(loosened),
            Some(RawSandbox::Off) | None => None,
        };
        let mut paths: Vec<(String, &At<AbsolutePath>)> = Vec::new();
        if let Some(loosened) = loosened {
            for (field, list) in [("read", &loosened.read), ("write", &loosened.write)] {
                let items = list.value().map_or(&[][..], |list| &list.items);
                let name = |n: usize| self.path(&format!("sandbox.{field}[{n}]"));
                paths.extend(items.iter().enumerate().map(|(n, path)| (name(n), path)));
            }
        }
        if let Some(directory) = raw.directory.at() {
            found.push((self.path("directory"), directory));
        }
        let found: Vec<_> =
            found
                .into_iter()
                .map(|(path, text)| (path, text.span.clone(), text.value.0.as_str()))
                .chain(
                    paths.iter().map(|(path, text)| {
                        (path.clone(), text.span.clone(), text.value.0.as_str())
                    }),
                )
                .chain(self.env_texts("env", &raw.env))
                .chain(self.variants().flat_map(|(os, own)| {
                    self.env_texts(&format!("{}.env", os.as_str()), &own.env)
                }))
                .collect();
        for (path, span, text) in found {
            self.check_text(&known, &path, &span, text);
        }
    }

    fn env_texts(&self, field: &str, env: &'a Field<Env>) -> Vec<(String, Span, &'a str)> {
        let entries = env.value().map_or(&[][..], |Named(entries)| entries);
        let text = |entry: &'a crate::read::Entry<crate::leaf::EnvName, EnvValue>| {
            let value = entry.value.as_ref()?;
            let path = self.path(&format!("{field}.{}", entry.key.value.0));
            match &value.value {
                EnvValue::Number(_) | EnvValue::Secret(_) => None,
                EnvValue::Text(text) => Some((path, value.span.clone(), text.as_str())),
            }
        };
        entries.iter().filter_map(text).collect()
    }

    fn check_text(&mut self, known: &Known<'_>, path: &str, span: &Span, text: &str) {
        for bad in known.check(text) {
            // The caret stands under the place itself, unless escapes hide it.
            let written = self.reader.text.get(span.clone()).unwrap_or("");
            let at = written.find(&bad.piece);
            let place = at.map(|at| span.start + at..span.start + at + bad.piece.len());
            let what = format!("`{}` in `{path}` {}", quoted(&bad.piece), bad.what);
            let try_this = escaped(&bad.try_this);
            self.say(&place.unwrap_or(span.clone()), what, &bad.because, &try_this);
        }
    }

    fn check_stops(&mut self, systems: &BTreeSet<Os>) {
        if let Some(stop) = self.raw.stop.value() {
            self.check_stop("stop", stop);
            for os in systems {
                let own = self.variant(*os).and_then(|own| own.stop.value());
                if own.is_none_or(|own| own.signal.is_absent() && own.hook.is_absent()) {
                    self.check_signal(*os, stop);
                }
            }
        }
        for (os, own) in self.variants() {
            if let Some(stop) = own.stop.value() {
                self.check_stop(&format!("{}.stop", os.as_str()), stop);
                self.check_signal(os, stop);
            }
        }
    }

    fn check_stop(&mut self, field: &str, stop: &RawStop) {
        if let (Some(signal), Some(hook)) = (stop.signal.at(), stop.hook.at()) {
            let what = format!("`{}` has both a signal and a hook", self.path(field));
            let because = "an instance is asked to end in one way";
            let late = if signal.span.start < hook.span.start { &hook.span } else { &signal.span };
            self.say(late, what, because, "leave one of them out");
        }
    }

    fn check_signal(&mut self, os: Os, stop: &RawStop) {
        let Some(At { span, value }) = stop.signal.at() else { return };
        let name = &self.name.value;
        match (os, value) {
            (Os::Linux, StopSignal::Signal(_))
            | (Os::Windows, StopSignal::CtrlBreak | StopSignal::CtrlC) => (),
            (Os::Linux, StopSignal::CtrlBreak | StopSignal::CtrlC) => {
                let what = format!("service `{name}` runs on Linux, which has no console events");
                let try_this = "`signal = \"TERM\"`, and this one in `[service.NAME.windows]`";
                let try_this = try_this.replace("NAME", name.as_str());
                self.say(span, what, "ctrl-break and ctrl-c belong to Windows", &try_this);
            }
            (Os::Windows, StopSignal::Signal(signal)) => {
                let what = format!("service `{name}` runs on Windows, which has no {signal}");
                let because = "signals belong to Linux";
                let try_this = "`signal = \"ctrl-break\"` in `[service.NAME.windows]`";
                self.say(span, what, because, &try_this.replace("NAME", name.as_str()));
            }
        }
    }

    fn check_inherit(&mut self) {
        let Some(list) = self.raw.inherit.value() else { return };
        told_once(&self.path("inherit"), &list.items, |name| name.0.as_str(), self.reader);
        let set = self.raw.env.value().map_or(&[][..], |Named(entries)| entries);
        for item in &list.items {
            if let Some(entry) = set.iter().find(|entry| entry.key.value == item.value) {
                let what = format!("`{}` is both set and inherited", quoted(&item.value.0));
                let because = "a variable has one value";
                let try_this = "leave it out of `inherit`, or of `env`";
                let problem = Problem::new(item.span.clone(), what, because, try_this);
                self.reader.push(problem.seen_at(entry.key.span.clone(), "set here"));
            }
        }
    }

    /// Where runs start; it must be a whole path, since nobody could say what it is relative to.
    fn directory(&mut self) -> Option<String> {
        let At { span, value } = self.raw.directory.at()?;
        let text = &value.0;
        let drive = text.get(1..3).is_some_and(|rest| matches!(rest, ":\\" | ":/"));
        let whole = ["/", "{data}", "{tmp}", "{release}", "{config}", "\\\\"];
        if !drive && !whole.iter().any(|start| text.starts_with(start)) {
            let what = format!("`{}` may not be `\"{}\"`", self.path("directory"), quoted(text));
            let because = "it begins nowhere: a place or an absolute path must come first";
            let base = if self.raw.files.is_absent() { "{data}" } else { "{release}" };
            let rest = text.trim_start_matches("./");
            let try_this = match rest {
                "" | "." => format!("`directory = \"{base}\"`"),
                _ => format!("`directory = \"{base}/{}\"`", quoted(rest)),
            };
            self.say(span, what, because, &try_this);
        }
        Some(text.clone())
    }

    fn program(&mut self, os: Os) -> Option<Program> {
        let raw = self.raw;
        let own = self.variant(os);
        let run = match either(own.map(|own| &own.run), &raw.run) {
            Field::Given(run) => run,
            Field::Bad => return None,
            Field::Absent => {
                let name = &self.name.value;
                let (on, table) = match own.is_some()
                    || raw.linux.value().is_some()
                    || raw.windows.value().is_some()
                {
                    true => (format!(" on {}", os.title()), format!("{name}.{}", os.as_str())),
                    false => (String::new(), name.to_string()),
                };
                let what = format!("service `{name}` has no `run`{on}");
                let because = "a service is a program to keep running, and only you know which";
                let try_this = format!("`run = [\"./{name}\"]` below `[service.{table}]`");
                self.say(&self.name.span, what, because, &try_this);
                return None;
            }
        };
        let files = either(own.map(|own| &own.files), &raw.files);
        let config = either(own.map(|own| &own.config), &raw.config);
        if files.is_absent() {
            self.check_program_is_there(run);
        }
        let mut env = BTreeMap::new();
        for field in [Some(&raw.env), own.map(|own| &own.env)].into_iter().flatten() {
            let entries = field.value().map_or(&[][..], |Named(entries)| entries);
            env.extend(entries.iter().filter_map(|entry| {
                let value = entry.value.as_ref()?.value.clone();
                Some((entry.key.value.0.clone(), value))
            }));
        }
        let (stop_how, stop_timeout) = self.stop(os, own);
        let packed = self.files(files.value().map_or(&[], |list| &list.items), "the release");
        let user = either(own.map(|own| &own.user), &raw.user).value().map(|user| user.0.clone());
        let only_windows = raw.windows.value().filter(|_| os == Os::Windows);
        let registry = only_windows.map(|windows| self.registry(windows, user.as_deref()));
        let sign = self.sign(either(own.map(|own| &own.sign), &raw.sign), &packed)?;
        Some(Program {
            build: either(own.map(|own| &own.build), &raw.build).value().map(|b| b.0.clone()),
            files: packed,
            sign,
            config: self.files(config.value().map_or(&[], |list| &list.items), "`{config}`"),
            run: texts(&run.value),
            user,
            registry: registry.unwrap_or_default(),
            event_source: only_windows.and_then(|own| own.event_source.value()).cloned(),
            stop_how,
            stop_timeout,
            env,
        })
    }

    /// A program named from the folder it starts in must have come there with a release.
    fn check_program_is_there(&mut self, run: &At<Argv>) {
        let Some(At { span, value }) = run.value.0.first() else { return };
        let relative = value.0.starts_with("./") || value.0.starts_with("../");
        if relative && self.raw.directory.is_absent() {
            let program = quoted(value.0.trim_start_matches("./"));
            let what = format!("service `{}` has no `{}`", self.name.value, quoted(&value.0));
            let because = "without `files` there is no release that could hold it";
            let try_this = format!("`files = [\"path/to/{program}\"]`, or the program's full path");
            self.say(span, what, because, &try_this);
        }
    }

    fn files(&mut self, list: &[At<crate::leaf::FilePath>], place: &str) -> Vec<ReleaseFile> {
        let mut names: BTreeMap<&str, &At<crate::leaf::FilePath>> = BTreeMap::new();
        let mut files = Vec::new();
        for item in list {
            let Some(name) = item.value.base_name() else { continue };
            if let Some(first) = names.get(name) {
                let what = format!("{place} would hold two `{}`", quoted(name));
                let because = "a file is found there by the last part of its path";
                let try_this = "rename one of them, or list the folder that holds it";
                let problem = Problem::new(item.span.clone(), what, because, try_this);
                self.reader.push(problem.seen_at(first.span.clone(), "the first"));
            }
            names.entry(name).or_insert(item);
            let (path, name) = (item.value.0.clone(), name.to_owned());
            files.push(ReleaseFile { path, name, span: item.span.clone() });
        }
        files
    }

    fn stop(&self, os: Os, own: Option<&'a RawVariant>) -> (FleetStop, Duration) {
        let own = own.and_then(|own| own.stop.value());
        let base = self.raw.stop.value();
        let all = || [own, base].into_iter().flatten();
        let how = all().find_map(|stop| match (&stop.hook, &stop.signal) {
            (Field::Given(hook), _) => Some(FleetStop::Hook(texts(&hook.value))),
            (_, Field::Given(signal)) => Some(FleetStop::Signal(signal.value)),
            (Field::Absent | Field::Bad, Field::Absent | Field::Bad) => None,
        });
        let default = match os {
            Os::Linux => StopSignal::Signal(Signal::Term),
            Os::Windows => StopSignal::CtrlBreak,
        };
        let timeout = all().find_map(|stop| stop.timeout.value()).map(|timeout| timeout.0);
        let how = how.unwrap_or(FleetStop::Signal(default));
        (how, timeout.unwrap_or_else(|| Stop::default().timeout))
    }
}
