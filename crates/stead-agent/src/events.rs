//! The journals of the agent and of all its instances, read as one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use stead_core::names::InstanceName;
use stead_wire::WallMs;
use stead_wire::api::EventLine;
use stead_wire::frame::{self, Framed};
use stead_wire::journal::{Event, Record};

use crate::layout::Layout;

/// The most of one journal that is read at once: more than a journal may hold.
const READ_LEN_MAX: u64 = 16 << 20;

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Of these instances, with what the agent says about them; `None`: everything.
    pub(crate) instances: Option<Vec<InstanceName>>,
    pub(crate) since: Option<WallMs>,
}

/// Reads journals as they grow. The first [`Reader::read`] gives all there is.
#[derive(Debug)]
pub(crate) struct Reader {
    layout: Layout,
    wish: Wish,
    places: BTreeMap<PathBuf, Place>,
}

/// How far a journal was read.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    number: u64,
    offset: u64,
    /// The newest record, so that a journal that was rewritten is not told twice.
    newest: WallMs,
}

impl Reader {
    pub(crate) fn new(layout: Layout, wish: Wish) -> Self {
        Self { layout, wish, places: BTreeMap::new() }
    }

    /// What came since the last call, by time.
    pub(crate) fn read(&mut self) -> Vec<EventLine> {
        let mut lines = self.read_file(&self.layout.events(), None);
        for name in self.instances() {
            let path = self.layout.instance(&name).join("events");
            lines.extend(self.read_file(&path, Some(&name)));
        }
        // Stable: what one journal says at one moment stays in its order.
        lines.sort_by_key(|line| line.at);
        lines
    }

    fn instances(&self) -> Vec<InstanceName> {
        match &self.wish.instances {
            Some(instances) => instances.clone(),
            None => self.layout.list().map(|(names, _)| names).unwrap_or_default(),
        }
    }

    fn read_file(&mut self, path: &Path, instance: Option<&InstanceName>) -> Vec<EventLine> {
        let mut place = self.places.get(path).copied().unwrap_or_default();
        let Ok((bytes, is_rewritten)) = read_on(path, &mut place) else { return Vec::new() };
        let mut lines = Vec::new();
        let told = if is_rewritten { Some(place.newest) } else { None };
        for framed in frame::decode_all::<Record>(&bytes) {
            let (at, event) = match framed {
                Framed::Whole(record) => (record.at, record.event),
                Framed::Damaged { offset: _, len } => (place.newest, damaged(path, len)),
                // Not finished, or not yet: the next read begins here again.
                Framed::Torn { offset: _, len } => {
                    place.offset -= len as u64;
                    continue;
                }
            };
            if told.is_some_and(|told| at <= told) {
                continue;
            }
            place.newest = place.newest.max(at);
            let line = EventLine { at, instance: instance.map(ToString::to_string), event };
            if self.is_wanted(&line) {
                lines.push(line);
            }
        }
        self.places.insert(path.to_path_buf(), place);
        lines
    }

    fn is_wanted(&self, line: &EventLine) -> bool {
        let is_new = self.wish.since.is_none_or(|since| line.at >= since);
        let is_about = match (&self.wish.instances, &line.instance, &line.event) {
            (None, _, _) | (Some(_), Some(_), _) => true,
            (Some(instances), None, Event::KeeperLost { keeper_of, .. }) => {
                instances.iter().any(|wanted| wanted.to_string() == *keeper_of)
            }
            (Some(_), None, _) => false,
        };
        is_new && is_about
    }
}

fn damaged(path: &Path, len: usize) -> Event {
    Event::Damaged {
        file: path.to_string_lossy().into_owned(),
        bytes: len as u64,
        what: "bytes that are no whole record were skipped".into(),
    }
}

/// Reads a file from its place on, or from its start when it is another file by now or was cut.
fn read_on(path: &Path, place: &mut Place) -> io::Result<(Vec<u8>, bool)> {
    let mut file = fs::File::open(path)?;
    let (len, number) = (file.metadata()?.len(), stead_proc::file_number(&file)?);
    let is_known = place.number != 0;
    let is_rewritten = is_known && (number != place.number || len < place.offset);
    if is_rewritten {
        place.offset = 0;
    }
    place.number = number;
    if len == place.offset {
        return Ok((Vec::new(), is_rewritten));
    }
    file.seek(SeekFrom::Start(place.offset))?;
    let mut bytes = Vec::new();
    file.take(READ_LEN_MAX).read_to_end(&mut bytes)?;
    place.offset += bytes.len() as u64;
    Ok((bytes, is_rewritten))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempRoot;

    fn record(at: WallMs, run: u64) -> Vec<u8> {
        frame::encode(&Record { at, event: Event::Started { run, pid: 1 }, memory: None })
    }

    fn runs(lines: &[EventLine]) -> Vec<(WallMs, Option<u64>)> {
        let run = |event: &Event| {
            if let Event::Started { run, .. } = event { Some(*run) } else { None }
        };
        lines.iter().map(|line| (line.at, run(&line.event))).collect()
    }

    #[test]
    fn journals_are_one_stream_by_time_and_are_told_once() {
        let root = TempRoot::new("events-merge");
        let layout = root.layout();
        let instance = layout.instance(&"a.0".parse().unwrap());
        fs::create_dir(&instance).unwrap();
        let path = instance.join("events");
        fs::write(layout.events(), [record(1, 1), record(5, 5)].concat()).unwrap();
        let third = record(3, 3);
        fs::write(&path, [record(2, 2), b"garbage\n".to_vec(), third[..9].to_vec()].concat())
            .unwrap();
        let mut reader = Reader::new(layout.clone(), Wish::default());
        let first = [(1, Some(1)), (2, Some(2)), (2, None), (5, Some(5))];
        assert_eq!(runs(&reader.read()), first);
        assert_eq!(runs(&reader.read()), []);
        let whole = [record(2, 2), b"garbage\n".to_vec(), third].concat();
        fs::write(&path, &whole).unwrap();
        assert_eq!(runs(&reader.read()), [(3, Some(3))]);
        // The keeper keeps only its newest records, in a new file.
        fs::write(instance.join("new"), [record(3, 3), record(9, 9)].concat()).unwrap();
        fs::rename(instance.join("new"), &path).unwrap();
        assert_eq!(runs(&reader.read()), [(9, Some(9))]);
    }

    #[test]
    fn a_wish_for_an_instance_leaves_out_all_others() {
        let root = TempRoot::new("events-wish");
        let layout = root.layout();
        for (name, at) in [("a.0", 1), ("b.0", 2)] {
            let folder = layout.instance(&name.parse().unwrap());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("events"), [record(at, 1), record(at + 10, 2)].concat()).unwrap();
        }
        let lost = |name: &str| Event::KeeperLost { keeper_of: name.into(), pid: 1 };
        let agent = [lost("a.0"), lost("b.0")]
            .map(|event| frame::encode(&Record { at: 20, event, memory: None }));
        fs::write(layout.events(), agent.concat()).unwrap();
        let instances = Some(vec!["b.0".parse().unwrap()]);
        let wish = Wish { instances, since: Some(5) };
        assert_eq!(runs(&Reader::new(layout, wish).read()), [(12, Some(2)), (20, None)]);
    }
}
