//! Readers that walk the TOML tree and collect every problem on the way.
//!
//! A reader never stops at the first problem: it says what is wrong, leaves the value out and goes
//! on. The same declarations drive the walk and the JSON schema, so the two cannot drift.

use std::ops::Range;

use serde_json::{Map, Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{PROBLEMS_MAX, Problem, escaped, quoted, toml_text};
use crate::suggest;

pub(crate) type Span = Range<usize>;

/// A value and where the file says it.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub span: Span,
    pub value: T,
}

/// A field of a table.
#[derive(Debug)]
pub(crate) enum Field<T> {
    Absent,
    /// It is there and wrong, which was said: whoever misses it must not complain again.
    Bad,
    Given(At<T>),
}

impl<T> Field<T> {
    pub(crate) fn at(&self) -> Option<&At<T>> {
        match self {
            Self::Absent | Self::Bad => None,
            Self::Given(at) => Some(at),
        }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.at().map(|at| &at.value)
    }

    pub(crate) fn is_bad(&self) -> bool {
        matches!(self, Self::Bad)
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// A place in the tree.
pub(crate) struct Node<'a> {
    /// `service.orders.count`, for messages.
    pub path: String,
    /// The key as written before the `=`; empty in a list.
    pub key: String,
    pub span: Span,
    pub value: &'a DeValue<'a>,
}

impl Node<'_> {
    /// How a value would be written here.
    pub(crate) fn with(&self, value: &str) -> String {
        if self.key.is_empty() { format!("`{value}`") } else { format!("`{} = {value}`", self.key) }
    }

    fn child_path(&self, key: &str) -> String {
        let key = escaped(key);
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

/// A value that a fleet file may hold.
pub(crate) trait Read: Sized {
    /// What belongs there, as a noun with its article: `a whole number from 1 to 256`.
    fn wanted() -> String;
    /// A good value as TOML.
    fn example() -> String;
    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self>;
    fn schema() -> Value;
}

/// The text of the file and what is wrong with it.
pub(crate) struct Reader<'a> {
    pub text: &'a str,
    pub problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// What may have been meant. Once there are more problems than are told nobody would read it,
    /// and to compare every name with every other would take minutes.
    pub(crate) fn nearest<'n>(
        &self,
        text: &str,
        all: impl Iterator<Item = &'n str>,
    ) -> Option<&'n str> {
        if self.problems.len() < PROBLEMS_MAX { suggest::nearest(text, all) } else { None }
    }

    /// Says that the value of a node may not be what it is.
    pub(crate) fn refuse(&mut self, node: &Node<'_>, because: String, try_this: String) {
        let is = quoted(self.text.get(node.span.clone()).unwrap_or(""));
        let what = format!("`{}` may not be `{is}`", node.path);
        self.push(Problem::new(node.span.clone(), what, because, try_this));
    }

    pub(crate) fn wrong_type<T: Read>(&mut self, node: &Node<'_>) {
        self.refuse(node, mismatch(node.value, &T::wanted()), node.with(&T::example()));
    }

    pub(crate) fn table<'n, T: Read>(&mut self, node: &Node<'n>) -> Option<&'n DeTable<'n>> {
        let table = node.value.as_table();
        if table.is_none() {
            self.wrong_type::<T>(node);
        }
        table
    }

    pub(crate) fn list<'n, T: Read>(&mut self, node: &Node<'n>) -> Option<Vec<Node<'n>>> {
        let Some(list) = node.value.as_array() else {
            self.wrong_type::<T>(node);
            return None;
        };
        let item = |(n, value): (usize, &'n Spanned<DeValue<'n>>)| Node {
            path: format!("{}[{n}]", node.path),
            key: String::new(),
            span: value.span(),
            value: value.get_ref(),
        };
        Some(list.iter().enumerate().map(item).collect())
    }

    pub(crate) fn child<'n>(
        &self,
        node: &Node<'n>,
        key: &Spanned<impl AsRef<str>>,
        value: &'n Spanned<DeValue<'n>>,
    ) -> Node<'n> {
        Node {
            path: node.child_path(key.get_ref().as_ref()),
            key: self.key_as_written(key.span()),
            span: value.span(),
            value: value.get_ref(),
        }
    }

    /// The whole dotted key that ends with this one: `port.http` for `http`.
    fn key_as_written(&self, span: Span) -> String {
        let before = self.text.get(..span.start).unwrap_or("");
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let dots = before.len() - before.trim_end_matches(bare).len();
        // In `[service.x]` the dots belong to the header, not to the field.
        let in_header = before[..before.len() - dots].ends_with('[');
        let start = if in_header { span.start } else { span.start - dots };
        escaped(self.text.get(start..span.end).unwrap_or(""))
    }

    pub(crate) fn field<T: Read>(
        &mut self,
        node: &Node<'_>,
        table: &DeTable<'_>,
        name: &str,
    ) -> Field<T> {
        let Some((key, value)) = table.get_key_value(name) else {
            return Field::Absent;
        };
        let node = self.child(node, key, value);
        match T::read(&node, self) {
            Some(value) => Field::Given(At { span: node.span, value }),
            None => Field::Bad,
        }
    }

    /// Says which keys of a table no field has, and what they may have been meant to be.
    pub(crate) fn unknown(
        &mut self,
        node: &Node<'_>,
        table: &DeTable<'_>,
        noun: &str,
        known: &[&str],
    ) {
        for (key, _) in table.iter().filter(|(key, _)| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let what = format!("unknown field `{}`", quoted(&node.child_path(name)));
            if let Some(service) = suggest::only_windows(&node.path, name) {
                let because = "only Windows has what it is about";
                let try_this = format!("`{name}` in `[service.{}.windows]`", escaped(service));
                self.push(Problem::new(key.span(), what, because, try_this));
                continue;
            }
            let because = format!("{noun} has no field of that name");
            let told = self.problems.len() < PROBLEMS_MAX;
            let meant = if told { suggest::field(name, known) } else { None };
            let try_this = match meant {
                Some(meant) => format!("`{meant}`"),
                None => format!("one of {}", known.join(", ")),
            };
            self.push(Problem::new(key.span(), what, because, try_this));
        }
    }
}

/// Why a value of one type is not another.
fn mismatch(value: &DeValue<'_>, wanted: &str) -> String {
    let is = match value {
        DeValue::Array(_) => "a list",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Integer(_) => "a number",
        DeValue::String(_) => "a text",
        DeValue::Table(_) => "a table",
    };
    format!("it is {is}, and {wanted} belongs there")
}

/// Why a text is not what it should be, and the text that was meant if one can be told.
pub(crate) struct Bad {
    pub because: String,
    pub meant: Option<String>,
}

impl Bad {
    pub(crate) fn new(because: impl Into<String>, meant: Option<String>) -> Self {
        Self { because: because.into(), meant }
    }
}

/// A value written as a TOML text.
pub(crate) trait FromText: Sized {
    const WANTED: &'static str;
    /// A good text.
    const EXAMPLE: &'static str;
    fn from_text(text: &str) -> Result<Self, Bad>;
    /// What a number would have meant here, as text: `10` as `10s`.
    fn from_number(_: &str) -> Option<String> {
        None
    }
    fn text_schema() -> Value {
        json!({ "type": "string", "examples": [Self::EXAMPLE] })
    }
}

impl<T: FromText> Read for T {
    fn wanted() -> String {
        T::WANTED.into()
    }

    fn example() -> String {
        toml_text(T::EXAMPLE)
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let (bad, fallback) = match node.value {
            DeValue::String(text) => match T::from_text(text) {
                Ok(value) => return Some(value),
                Err(bad) => (bad, T::EXAMPLE),
            },
            DeValue::Integer(number) => {
                let meant = T::from_number(number.as_str());
                (Bad::new(mismatch(node.value, T::WANTED), meant), T::EXAMPLE)
            }
            DeValue::Array(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Float(_)
            | DeValue::Table(_) => {
                reader.wrong_type::<T>(node);
                return None;
            }
        };
        let meant = bad.meant.unwrap_or_else(|| fallback.into());
        reader.refuse(node, bad.because, node.with(&toml_text(&meant)));
        None
    }

    fn schema() -> Value {
        T::text_schema()
    }
}

/// A whole number within bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole<const MIN: i64, const MAX: i64, const EXAMPLE: i64>(pub u32);

impl<const MIN: i64, const MAX: i64, const EXAMPLE: i64> Read for Whole<MIN, MAX, EXAMPLE> {
    fn wanted() -> String {
        format!("a whole number from {MIN} to {MAX}")
    }

    fn example() -> String {
        EXAMPLE.to_string()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let in_bounds = |number: &i64| (MIN..=MAX).contains(number);
        let meant = match node.value {
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                match number {
                    Ok(number) if in_bounds(&number) => {
                        return u32::try_from(number).ok().map(Self);
                    }
                    Ok(_) | Err(_) => EXAMPLE,
                }
            }
            DeValue::String(text) => match text.trim().parse().ok().filter(in_bounds) {
                Some(number) => number,
                None => EXAMPLE,
            },
            DeValue::Array(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Float(_)
            | DeValue::Table(_) => EXAMPLE,
        };
        let because = match node.value.as_integer() {
            Some(_) => format!("it must be {}", Self::wanted()),
            None => mismatch(node.value, &Self::wanted()),
        };
        reader.refuse(node, because, node.with(&meant.to_string()));
        None
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

impl Read for bool {
    fn wanted() -> String {
        "true or false, without quotes,".into()
    }

    fn example() -> String {
        "true".into()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let value = node.value.as_bool();
        if value.is_none() {
            reader.wrong_type::<Self>(node);
        }
        value
    }

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

/// A list, each value once or often, as its owner decides.
#[derive(Debug)]
pub(crate) struct List<T> {
    /// Those that are right.
    pub items: Vec<At<T>>,
    /// How many are written, the wrong ones included.
    pub written_n: usize,
}

impl<T: Read> Read for List<T> {
    fn wanted() -> String {
        "a list".into()
    }

    fn example() -> String {
        format!("[{}]", T::example())
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        // One name where a list of names belongs is the commonest slip.
        if let DeValue::String(text) = node.value {
            let because = mismatch(node.value, &Self::wanted());
            reader.refuse(node, because, node.with(&format!("[{}]", toml_text(text))));
            return None;
        }
        let items = reader.list::<Self>(node)?;
        let good = items.iter().filter_map(|item| read_at(item, reader)).collect();
        Some(Self { items: good, written_n: items.len() })
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }
}

fn read_at<T: Read>(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<At<T>> {
    T::read(node, reader).map(|value| At { span: node.span.clone(), value })
}

/// A table whose keys are names that the file's author makes up.
#[derive(Debug)]
pub(crate) struct Named<K, V>(pub Vec<Entry<K, V>>);

/// A name and what it names; nothing when that is wrong, which was said.
#[derive(Debug)]
pub(crate) struct Entry<K, V> {
    pub key: At<K>,
    pub value: Option<At<V>>,
}

impl<K: FromText, V: Read> Read for Named<K, V> {
    fn wanted() -> String {
        format!("a table from {} to {}", without_article(K::WANTED), V::wanted())
    }

    fn example() -> String {
        format!("{{ {} = {} }}", K::EXAMPLE, V::example())
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let table = reader.table::<Self>(node)?;
        let mut entries = Vec::new();
        for (key, value) in table {
            let child = reader.child(node, key, value);
            let name = K::from_text(key.get_ref());
            let value = read_at(&child, reader);
            match name {
                Ok(name) => {
                    entries.push(Entry { key: At { span: key.span(), value: name }, value })
                }
                Err(bad) => {
                    let what = format!("`{}` may not be {}", quoted(key.get_ref()), K::WANTED);
                    let meant = bad.meant.unwrap_or_else(|| K::EXAMPLE.into());
                    let try_this = format!("`{}`", escaped(&meant));
                    reader.push(Problem::new(key.span(), what, bad.because, try_this));
                }
            }
        }
        entries.sort_by_key(|entry| entry.key.span.start);
        Some(Self(entries))
    }

    fn schema() -> Value {
        json!({
            "type": "object",
            "propertyNames": K::text_schema(),
            "additionalProperties": V::schema(),
        })
    }
}

fn without_article(noun: &str) -> &str {
    noun.strip_prefix("the ").or(noun.strip_prefix("a ")).unwrap_or(noun)
}

/// The schema of a table with fixed fields.
pub(crate) fn table_schema(about: &str, fields: &[(&str, String, Value)]) -> Value {
    let described = |(name, doc, schema): &(&str, String, Value)| {
        let mut schema = schema.clone();
        schema["description"] = doc.trim().into();
        ((*name).to_owned(), schema)
    };
    let properties: Map<String, Value> = fields.iter().map(described).collect();
    json!({
        "type": "object",
        "description": about.trim(),
        "properties": properties,
        "additionalProperties": false,
    })
}

/// Declares a table: its struct, its reader and its schema come from one list of fields.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $name:ident, $noun:literal, $example:literal {
            $($(#[doc = $doc:literal])+ $field:ident: $kind:ty,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(crate) struct $name {
            $($(#[doc = $doc])+ pub $field: $crate::read::Field<$kind>,)+
        }

        impl $name {
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];

            /// The fields of a table that may hold others, too.
            pub(crate) fn read_fields(
                node: &$crate::read::Node<'_>,
                table: &toml::de::DeTable<'_>,
                reader: &mut $crate::read::Reader<'_>,
            ) -> Self {
                Self { $($field: reader.field(node, table, stringify!($field)),)+ }
            }
        }

        impl $crate::read::Read for $name {
            fn wanted() -> String {
                "a table".into()
            }

            fn example() -> String {
                $example.into()
            }

            fn read(
                node: &$crate::read::Node<'_>,
                reader: &mut $crate::read::Reader<'_>,
            ) -> Option<Self> {
                let table = reader.table::<Self>(node)?;
                reader.unknown(node, table, $noun, Self::FIELDS);
                Some(Self::read_fields(node, table, reader))
            }

            fn schema() -> serde_json::Value {
                $crate::read::table_schema(
                    concat!($($about),+),
                    &[$((
                        stringify!($field),
                        concat!($($doc),+).into(),
                        <$kind as $crate::read::Read>::schema(),
                    )),+],
                )
            }
        }
    };
}
pub(crate) use table;
