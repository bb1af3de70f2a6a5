//! `stead-sim`: rollouts from many seeds, one of them told step by step, or one by a script.

use std::fs;
use std::io::{self, Write as _};
use std::ops::Range;
use std::process::ExitCode;

use stead_sim::{Broken, Plan, Report, Scenario, run};

const USAGE: &str =
    "usage: stead-sim [--seeds FROM..TO | --trace SEED] [--broken PROTECTION] | --scenario FILE";

fn main() -> ExitCode {
    match command(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Some(code) => code,
        None => {
            eprintln!("{USAGE}\nprotections: {}", Broken::ALL.map(Broken::name).join(", "));
            ExitCode::from(2)
        }
    }
}

fn command(args: &[String]) -> Option<ExitCode> {
    let (mut seeds, mut broken, mut trace) = (0..1000, None, None);
    for pair in args.chunks(2) {
        match pair {
            [name, value] if name == "--seeds" => {
                let (from, to) = value.split_once("..")?;
                seeds = from.parse().ok()?..to.parse().ok()?;
            }
            [name, value] if name == "--broken" => {
                broken = Some(Broken::of_name(value)?);
            }
            [name, path] if name == "--scenario" => return Some(play(path)),
            [name, value] if name == "--trace" => trace = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(match trace {
        Some(seed) => tell(seed, broken),
        None => all(seeds, broken),
    })
}

fn play(path: &str) -> ExitCode {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("cannot read `{path}`: {error}");
            return ExitCode::from(2);
        }
    };
    match Scenario::parse(&text) {
        Ok(scenario) => {
            write(&scenario.played());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::from(2)
        }
    }
}

fn tell(seed: u64, broken: Option<Broken>) -> ExitCode {
    let plan = Plan::of(seed, broken);
    let plan_told = format!("{plan:#?}\n");
    let report = run(plan, true);
    write(&(plan_told + &report.trace.join("\n") + "\n"));
    end(seed, &report)
}

fn all(seeds: Range<u64>, broken: Option<Broken>) -> ExitCode {
    let seeds_n = seeds.end - seeds.start;
    let mut events_n = 0;
    for seed in seeds {
        let report = run(Plan::of(seed, broken), false);
        events_n += report.events_n;
        if report.violation.is_some() {
            return end(seed, &report);
        }
    }
    write(&format!("{seeds_n} worlds, {events_n} events: all invariants hold\n"));
    ExitCode::SUCCESS
}

fn write(text: &str) {
    // Nobody reads it any more, if this fails.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn end(seed: u64, report: &Report) -> ExitCode {
    match &report.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            eprintln!("seed {seed}: {violation}\n`stead-sim --trace {seed}` tells it");
            ExitCode::FAILURE
        }
    }
}
