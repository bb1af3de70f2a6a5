//! The file `events` of an instance.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use stead_wire::frame::{Framed, decode_all};
use stead_wire::journal::{Memory, Record};

/// A journal longer than this is cut down to its newest records.
const JOURNAL_LEN_MAX: u64 = 1 << 20;
/// How many bytes of records are kept then.
const JOURNAL_LEN_KEPT: usize = 256 << 10;

/// The journal, open for appending.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
    file: File,
    len: u64,
    /// Length of the part that holds whole records only.
    whole: u64,
}

/// What a journal held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// The newest memory; `None` for a journal without one.
    pub(crate) memory: Option<Memory>,
    /// Bytes that were no whole records.
    pub(crate) damaged_bytes: u64,
}

impl JournalFile {
    /// Opens the journal, cuts off a torn end, and says what it held.
    pub(crate) fn open(folder: &Path) -> io::Result<(Self, Remembered)> {
        let path = folder.join("events");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let remembered = remember(&bytes);
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at as u64 + 1);
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        Ok((Self { path, file, len: bytes.len() as u64, whole }, remembered))
    }

    /// Appends whole records. After an error none of them counts; what was half written is cut off
    /// before the next ones.
    pub(crate) fn append(&mut self, records: &[u8]) -> io::Result<()> {
        if self.len != self.whole {
            stead_proc::cut_file(&self.path, self.whole)?;
            self.len = self.whole;
        }
        let written = self.file.write(records)?;
        self.len += written as u64;
        if written < records.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.whole = self.len;
        if self.len > JOURNAL_LEN_MAX {
            // A journal that could not be shortened is only too long.
            let _ = self.shorten();
        }
        Ok(())
    }

    /// Puts a copy with the newest records in the place of the journal.
    fn shorten(&mut self) -> io::Result<()> {
        let bytes = fs::read(&self.path)?;
        let from = bytes.len().saturating_sub(JOURNAL_LEN_KEPT);
        let line_end = bytes[from..].iter().position(|b| *b == b'\n');
        let kept = &bytes[line_end.map_or(0, |at| from + at + 1)..];
        let temporary = self.path.with_extension("new");
        let mut file = File::create(&temporary)?;
        file.write_all(kept)?;
        file.sync_data()?;
        fs::rename(&temporary, &self.path)?;
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.len = kept.len() as u64;
        self.whole = self.len;
        Ok(())
    }
}

fn remember(bytes: &[u8]) -> Remembered {
    let mut remembered = Remembered::default();
    for framed in decode_all::<Record>(bytes) {
        match framed {
            Framed::Whole(Record { memory: Some(memory), .. }) => remembered.memory = Some(memory),
            Framed::Whole(Record { memory: None, .. }) => (),
            Framed::Damaged { len, .. } | Framed::Torn { len, .. } => {
                remembered.damaged_bytes += len as u64;
            }
        }
    }
    remembered
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_core::machine::RunId;
    use stead_wire::frame::encode;
    use stead_wire::journal::Event;

    fn record(run: u64) -> Vec<u8> {
        let memory = Memory { last_run: RunId(run), ..Memory::default() };
        encode(&Record { at: run, event: Event::Started { run, pid: 1 }, memory: Some(memory) })
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stead-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_journal_torn_anywhere_remembers_the_last_whole_record_and_goes_on() {
        let folder = folder("torn");
        let bytes: Vec<u8> = (1..=3).flat_map(record).collect();
        let record_len = record(1).len();
        for cut in 0..=bytes.len() {
            fs::write(folder.join("events"), &bytes[..cut]).unwrap();
            let (mut journal, remembered) = JournalFile::open(&folder).unwrap();
            let whole = cut / record_len;
            assert_eq!(remembered.memory.map_or(0, |m| m.last_run.0), whole as u64, "cut {cut}");
            assert_eq!(remembered.damaged_bytes as usize, cut % record_len, "cut {cut}");
            journal.append(&record(9)).unwrap();
            let (_, again) = JournalFile::open(&folder).unwrap();
            assert_eq!(again.memory.unwrap().last_run, RunId(9));
            assert_eq!(again.damaged_bytes, 0, "the torn end is cut off");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_long_journal_is_cut_down_and_forgets_nothing_that_counts() {
        let folder = folder("long");
        let (mut journal, _) = JournalFile::open(&folder).unwrap();
        let mut run = 0;
        let mut longest = 0;
        while run < 20_000 {
            run += 1;
            journal.append(&record(run)).unwrap();
            longest = longest.max(fs::metadata(folder.join("events")).unwrap().len());
        }
        assert!(longest <= JOURNAL_LEN_MAX + record(run).len() as u64);
        let (_, remembered) = JournalFile::open(&folder).unwrap();
        assert_eq!(remembered.memory.unwrap().last_run, RunId(run));
        assert_eq!(remembered.damaged_bytes, 0);
        fs::remove_dir_all(folder).unwrap();
    }
}
