//! Showing what is: status, agent, logs, why, events.

use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use stead_wire::api::{EventLine, LogLine, Status, Why};

use crate::Context;
use crate::args::{EventsArgs, LogsArgs, StatusArgs, StreamChoice, WhyArgs};
use crate::client::{Client, Lines, encode};
use crate::failure::Failure;
use crate::names;
use crate::progress::Progress;
use crate::render;
use crate::render::log::LogView;
use crate::screen::Tone;
use crate::screen::{Screen, one_line};

/// So many bytes are written at a time, where more come at once.
const WRITE_LEN: usize = 64 << 10;
/// How often a watched status is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Lines that came before, where one goes on with what comes.
const FOLLOW_LAST: u64 = 10;

pub(crate) async fn status(ctx: &mut Context, args: StatusArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let status: Status = client.get("/v1/status").await?;
    if args.json {
        return ctx.screen.json(&status);
    }
    if args.watch {
        return watch(&client, &mut Progress::new(&mut ctx.screen)).await;
    }
    let (paint, width) = (ctx.screen.paint, ctx.screen.width());
    let lines = render::status::lines(&status, Timestamp::now(), paint, width);
    ctx.screen.write(&format!("{}\n", lines.join("\n")))
}

/// Shows the status again and again; never returns but for a failure.
pub(crate) async fn watch(client: &Client, progress: &mut Progress<'_>) -> Result<(), Failure> {
    loop {
        let status: Status = client.get("/v1/status").await?;
        progress.show(&status)?;
        tokio::time::sleep(DRAW_EVERY).await;
    }
}

pub(crate) async fn agent(ctx: &mut Context, json: bool) -> Result<(), Failure> {
    let client = ctx.client()?;
    let status: Status = client.get("/v1/status").await?;
    if json {
        return ctx.screen.json(&status.agent);
    }
    let mut lines = render::status::agent_lines(&status.host, &status.agent, ctx.screen.paint);
    if let Some(is_enabled) = crate::install::starts_at_boot(client.root()) {
        let at_boot = if is_enabled { "yes" } else { "no; `stead agent install` makes it so" };
        lines.push(format!("{} {at_boot}", ctx.screen.paint.paint(Tone::Dim, "at boot ")));
    }
    ctx.screen.write(&format!("{}\n", lines.join("\n")))
}

pub(crate) async fn logs(ctx: &mut Context, args: LogsArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let status: Status = client.get("/v1/status").await?;
    let instances = names::instances(&status, &args.names)?;
    let mut lines = client.lines(&logs_path(&instances, &args)).await?;
    let mut view = LogView::new(&instances, ctx.screen.paint, ctx.screen.terminal);
    let json = args.json;
    pour(
        &mut ctx.screen,
        &mut lines,
        |line: &LogLine| {
            if json { one_line(line) } else { view.show(line) }
        },
    )
    .await
}

fn logs_path(instances: &[String], args: &LogsArgs) -> String {
    let mut query = vec![format!("names={}", encode(&instances.join(",")))];
    let mut add = |name: &str, value: Option<String>| {
        query.extend(value.map(|value| format!("{name}={}", encode(&value))));
    };
    add("since", args.since.map(|since| since.micros().to_string()));
    add("until", args.until.map(|until| until.micros().to_string()));
    add("grep", args.grep.clone());
    let stream = args.stream.map(|stream| match stream {
        StreamChoice::Err => "err".into(),
        StreamChoice::Out => "out".into(),
    });
    add("stream", stream);
    let is_bare_follow = args.follow && args.since.is_none();
    let last = args.last.or(is_bare_follow.then_some(FOLLOW_LAST));
    add("last", last.map(|n| n.to_string()));
    add("follow", args.follow.then(|| "true".into()));
    format!("/v1/logs?{}", query.join("&"))
}

pub(crate) async fn events(ctx: &mut Context, args: EventsArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let mut query = Vec::new();
    if let Some(name) = &args.name {
        let status: Status = client.get("/v1/status").await?;
        let instances = names::instances(&status, std::slice::from_ref(name))?;
        query.push(format!("names={}", encode(&instances.join(","))));
    }
    if args.follow {
        query.push("follow=true".into());
    }
    let mut lines = client.lines(&format!("/v1/events?{}", query.join("&"))).await?;
    let (zone, paint, json) = (TimeZone::system(), ctx.screen.paint, args.json);
    pour(&mut ctx.screen, &mut lines, |event: &EventLine| {
        if json { one_line(event) } else { render::event::line(event, &zone, paint) + "\n" }
    })
    .await
}

/// Writes each value as it comes, and those that come together in one go.
async fn pour<T: DeserializeOwned>(
    screen: &mut Screen,
    lines: &mut Lines,
    mut show: impl FnMut(&T) -> String,
) -> Result<(), Failure> {
    let mut text = String::new();
    while let Some(value) = lines.next::<T>().await? {
        text.push_str(&show(&value));
        if text.len() >= WRITE_LEN || !lines.is_ready() {
            screen.write(&text)?;
            text.clear();
        }
    }
    screen.write(&text)
}

pub(crate) async fn why(ctx: &mut Context, args: WhyArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let status: Status = client.get("/v1/status").await?;
    let instances = names::instances(&status, &[args.name])?;
    let mut whys: Vec<Why> = Vec::new();
    for instance in &instances {
        whys.push(client.get(&why_path(instance)).await?);
    }
    if args.json {
        return ctx.screen.json(&whys);
    }
    let (zone, paint, terminal) = (TimeZone::system(), ctx.screen.paint, ctx.screen.terminal);
    let texts = whys.iter().map(|why| render::why::text(why, &zone, paint, terminal));
    let texts: Vec<String> = texts.collect();
    ctx.screen.write(&texts.join("\n"))
}

/// Shows beside the output why instances are where they are. What cannot be had is left out: the
/// command fails already, for a better reason.
pub(crate) async fn explain(ctx: &mut Context, client: &Client, instances: &[String]) {
    let (zone, paint) = (TimeZone::system(), ctx.screen.paint_notes);
    for instance in instances {
        if let Ok(why) = client.get::<Why>(&why_path(instance)).await {
            let text = render::why::text(&why, &zone, paint, true);
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }
}

fn why_path(instance: &str) -> String {
    format!("/v1/why/{}", encode(instance))
}
