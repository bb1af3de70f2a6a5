//! A fleet file, and the file of a tier over it: together one text, so that a place in either is
//! a byte of that.

use stead_core::reconcile::FieldChange;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::assemble::FILE_BYTES_MAX;
use crate::problem::{Problem, Problems, escaped, quoted};
use crate::syntax;

/// A fleet file, and the one of a tier if there is one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layers {
    /// All of them, one after another, with a line end between two.
    text: String,
    layers: Vec<Layer>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Layer {
    file_name: String,
    /// Where it begins in the text.
    start: usize,
    /// Why nothing can be read of it.
    bad: Option<Problem>,
}

impl Layers {
    /// The fleet file alone. `file_name` is what to call it.
    pub fn of(file_name: &str, bytes: &[u8]) -> Self {
        Self { text: String::new(), layers: Vec::new() }.with(file_name, bytes)
    }

    /// The same, with another file over it: tables become one, key by key; anything else takes the
    /// place of what is below.
    pub fn with(mut self, file_name: &str, bytes: &[u8]) -> Self {
        if !self.layers.is_empty() {
            self.text.push('\n');
        }
        let start = self.text.len();
        self.text.push_str(&String::from_utf8_lossy(bytes));
        let bad = unreadable(start, bytes);
        self.layers.push(Layer { file_name: file_name.into(), start, bad });
        self
    }

    /// What spans count bytes of.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the files above the first one change, in the order of their text.
    pub fn changes(&self) -> Vec<FieldChange> {
        self.read(|_, changes| changes).unwrap_or_default()
    }

    /// Hands on what is in all of them together.
    pub(crate) fn read<T>(
        &self,
        next: impl FnOnce(DeTable<'_>, Vec<FieldChange>) -> T,
    ) -> Result<T, Problems> {
        let bad: Vec<Problem> = self.layers.iter().filter_map(|it| it.bad.clone()).collect();
        if !bad.is_empty() {
            return Err(Problems::of(&self.text, bad));
        }
        // Blanks before it move all that is said of a layer to where it is in the text.
        let padded: Vec<String> = (0..self.layers.len())
            .map(|n| format!("{}{}", "\n".repeat(self.layers[n].start), self.layer_text(n)))
            .collect();
        let mut whole = DeTable::new();
        let (mut problems, mut changes) = (Vec::new(), Vec::new());
        for (n, text) in padded.iter().enumerate() {
            let (document, errors) = DeTable::parse_recoverable(text);
            // What was recovered lacks fields: to check it would invent problems.
            problems.extend(syntax::problems(text, &errors));
            match n {
                0 => whole = document.into_inner(),
                _ => self.put_over(&mut whole, document.into_inner(), "", &mut changes),
            }
        }
        match problems.is_empty() {
            true => Ok(next(whole, changes)),
            false => Err(Problems::of(&self.text, problems)),
        }
    }

    fn put_over<'a>(
        &self,
        below: &mut DeTable<'a>,
        above: DeTable<'a>,
        path: &str,
        changes: &mut Vec<FieldChange>,
    ) {
        let mut above: Vec<_> = above.into_iter().collect();
        above.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in above {
            let name: &str = key.get_ref().as_ref();
            let field = match path {
                "" => escaped(name),
                path => format!("{path}.{}", escaped(name)),
            };
            let there = below.get(name);
            if value.get_ref().is_table() && there.is_some_and(|it| it.get_ref().is_table()) {
                let below = below.get_mut(name).map(Spanned::get_mut);
                if let (Some(DeValue::Table(below)), DeValue::Table(above)) =
                    (below, value.into_inner())
                {
                    self.put_over(below, above, &field, changes);
                }
                continue;
            }
            let from = there.map_or("(none)".into(), |there| self.written(there));
            changes.push(FieldChange { field, from, to: self.written(&value) });
            below.remove(name);
            below.insert(key, value);
        }
    }

    /// A value as it is written.
    fn written(&self, value: &Spanned<DeValue<'_>>) -> String {
        let Some(table) = value.get_ref().as_table() else {
            return quoted(self.text.get(value.span()).unwrap_or(""));
        };
        // Its span is that of its header.
        let keys = table.keys().map(|key| escaped(key.get_ref().as_ref()));
        format!("a table of {}", keys.collect::<Vec<_>>().join(", "))
    }

    /// The text of one file.
    fn layer_text(&self, n: usize) -> &str {
        let end = self.layers.get(n + 1).map_or(self.text.len(), |next| next.start - 1);
        &self.text[self.layers[n].start..end]
    }

    /// The file that a byte is in: its name, its text and where that begins.
    pub(crate) fn at(&self, byte: usize) -> (&str, &str, usize) {
        let n = self.layers.iter().rposition(|layer| layer.start <= byte).unwrap_or(0);
        (&self.layers[n].file_name, self.layer_text(n), self.layers[n].start)
    }

    /// What the first file is called.
    pub fn first_name(&self) -> &str {
        &self.layers[0].file_name
    }

    /// Where a byte is, for people: `stead.toml:12:9`.
    pub fn place(&self, byte: usize) -> String {
        let (file_name, text, start) = self.at(byte);
        let before = text.get(..byte - start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("{file_name}:{line}:{column}")
    }
}

/// Why nothing can be read of a file that begins at this byte of the text.
fn unreadable(start: usize, bytes: &[u8]) -> Option<Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        let what = format!("the file is too large: {} bytes", bytes.len());
        let because = format!("a fleet file may have {FILE_BYTES_MAX} bytes");
        return Some(Problem::new(start..start, what, because, "several smaller fleets"));
    }
    let error = std::str::from_utf8(bytes).err()?;
    let from = error.valid_up_to();
    let what = format!("the file is not text: byte {:#04x} is not UTF-8", bytes[from]);
    let (at, because) = (start + from, "a fleet file is UTF-8");
    Some(Problem::new(at..at + 1, what, because, "save it as UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fleet;

    const BASE: &str = "name = \"shop\"\n[service.web]\nrun = [\"/bin/web\"]\ncount = 1\n\
                        env = { LEVEL = \"debug\", A = \"1\" }\n";

    fn over(text: &str) -> Layers {
        Layers::of("stead.toml", BASE.as_bytes()).with("production.toml", text.as_bytes())
    }

    fn seen(layers: &Layers) -> String {
        let problems = Fleet::parse_layers(layers).expect_err("it is a bad file");
        problems.render_in(layers, false)
    }

    #[test]
    fn tables_become_one_and_anything_else_takes_the_place_of_what_is_below() {
        let layers = over(
            "name = \"shop-production\"\n[host.vm1]\naddress = \"vm1.example\"\n\
             [service.web]\ncount = 6\nenv.LEVEL = \"warn\"\nlimits.memory = \"1GiB\"\n\
             run = [\"/bin/web\", \"--fast\"]\n",
        );
        let fleet = Fleet::parse_layers(&layers).unwrap();
        assert_eq!(fleet.name().as_str(), "shop-production");
        let web = fleet.service(&"web".parse().unwrap()).unwrap();
        assert_eq!((web.count(), web.on()[0].as_str()), (6, "vm1"));
        let changes = layers.changes();
        let told: Vec<_> =
            changes.iter().map(|it| format!("{}: {} -> {}", it.field, it.from, it.to)).collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        name: "shop" -> "shop-production"
        host: (none) -> a table of vm1
        service.web.count: 1 -> 6
        service.web.env.LEVEL: "debug" -> "warn"
        service.web.limits: (none) -> a table of memory
        service.web.run: ["/bin/web"] -> ["/bin/web", "--fast"]
        "#);
        assert_eq!(Layers::of("stead.toml", BASE.as_bytes()).changes(), []);
    }

    #[test]
    fn what_is_wrong_is_shown_in_the_file_that_says_it() {
        let wrong = seen(&over("[service.web]\n\ncount = 0\n"));
        assert!(
            wrong.contains("production.toml:3:9") && wrong.contains("3 | count = 0"),
            "{wrong}"
        );
        assert!(seen(&over("[service.web\n")).contains("production.toml:1:"));
        let base = Layers::of("stead.toml", b"[service.web]\ncount = 0\nrun = [\"/bin/a\"]");
        let both = base.with("production.toml", b"[service.web]\nrun = \"/bin/a\"\n");
        let both = seen(&both);
        assert!(both.contains("stead.toml:2:9") && both.contains("production.toml:2:7"), "{both}");
        let bytes = over("").with("more.toml", b"a = \"\xff\"");
        assert!(seen(&bytes).contains("more.toml:1:6"), "{}", seen(&bytes));
    }
}
