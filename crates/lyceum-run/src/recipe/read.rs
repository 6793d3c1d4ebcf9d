use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};

use super::node::{Node, Origin, Value};

/// Reads a recipe's tree into any type, so that an error knows the key and the line it is about.
pub(super) fn read<T: de::DeserializeOwned>(tree: &Node) -> Result<T, Fault> {
    T::deserialize(Cursor { node: tree, key: String::new() })
}

/// What is wrong with a recipe, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// Place and dotted key, set by the innermost node that sees the error pass.
    pub place: Option<(Origin, String)>,
    pub problem: Problem,
}

#[derive(Debug)]
pub(super) enum Problem {
    UnknownKey { key: String, known: &'static [&'static str] },
    UnknownValue { value: String, known: &'static [&'static str] },
    MissingKey(&'static str),
    Other(String),
}

impl Fault {
    const fn new(problem: Problem) -> Self {
        Self { place: None, problem }
    }

    /// Says where, if nothing nearer to the error has.
    fn at(mut self, cursor_node: &Node, cursor_key: &str) -> Self {
        if self.place.is_none() {
            let mut place = (cursor_node.origin.clone(), cursor_key.to_owned());
            // An unknown key is reported from its table: the key itself stands on a line of its own.
            if let Problem::UnknownKey { key, .. } = &self.problem {
                if let Some(node) = cursor_node.child(key) {
                    place.0 = node.origin.clone();
                }
                place.1 = join(cursor_key, key);
            }
            self.place = Some(place);
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.problem)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Problem::Other(message.to_string()))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: field.to_owned(), known: expected })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownValue { value: variant.to_owned(), known: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::MissingKey(field))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format!("this is {}, where {} belongs", found_words(found), expected_words(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

/// What was found, in the words of a recipe's writer.
fn found_words(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Map | Unexpected::StructVariant => "a table".into(),
        Unexpected::Seq | Unexpected::TupleVariant => "an array".into(),
        Unexpected::Str(text) => format!("the text \"{text}\""),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number:?}"),
        Unexpected::Bool(value) => format!("the truth value {value}"),
        other => other.to_string(),
    }
}

/// What serde expected, in the words of a recipe's writer.
fn expected_words(expected: &dyn Expected) -> String {
    let words = expected.to_string();
    match words.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more,".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a string" => "a text in quotes".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "an array".into(),
        "a map" => "a table".into(),
        other if other.starts_with("struct ") => "a table".into(),
        other => other.into(),
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

/// A node being read, with its dotted key.
struct Cursor<'a> {
    node: &'a Node,
    key: String,
}

impl<'a> Cursor<'a> {
    fn child(&self, key: &str, node: &'a Node) -> Self {
        Self { node, key: join(&self.key, key) }
    }
}

impl<'de> Deserializer<'de> for Cursor<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Table(table) => {
                visitor.visit_map(Entries { table: &self, rest: table.iter(), value: None })
            }
            Value::Array(items) => visitor.visit_seq(Items { array: &self, rest: items.iter().enumerate() }),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(value) => visitor.visit_bool(*value),
        }
        .map_err(|fault| fault.at(self.node, &self.key))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (node, key) = (self.node, self.key.clone());
        visitor.visit_newtype_struct(self).map_err(|fault| fault.at(node, &key))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (node, key) = (self.node, self.key.clone());
        match &node.value {
            Value::String(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Value::Table(table) if table.len() == 1 => visitor.visit_enum(self),
            Value::Table(_) => {
                Err(de::Error::custom("a table with one key, the name of the choice, belongs here"))
            }
            _ => Err(de::Error::custom("a text in quotes, the name of the choice, belongs here")),
        }
        .map_err(|fault| fault.at(node, &key))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

struct Entries<'c, 'de> {
    table: &'c Cursor<'de>,
    rest: std::collections::btree_map::Iter<'de, String, Node>,
    value: Option<Cursor<'de>>,
}

impl<'de> MapAccess<'de> for Entries<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.rest.next() else { return Ok(None) };
        self.value = Some(self.table.child(key, node));
        seed.deserialize(key.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let value = self.value.take().ok_or_else(|| <Fault as de::Error>::custom("a value without a key"))?;
        let (node, key) = (value.node, value.key.clone());
        seed.deserialize(value).map_err(|fault| fault.at(node, &key))
    }
}

struct Items<'c, 'de> {
    array: &'c Cursor<'de>,
    rest: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((index, node)) = self.rest.next() else { return Ok(None) };
        let key = format!("{}[{index}]", self.array.key);
        let item = Cursor { node, key: key.clone() };
        seed.deserialize(item).map(Some).map_err(|fault| fault.at(node, &key))
    }
}

/// A choice given as a table of one key: `reward = { command = [...] }`.
impl<'de> EnumAccess<'de> for Cursor<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let Value::Table(table) = &self.node.value else {
            return Err(de::Error::custom("a table belongs here"));
        };
        let (name, node) =
            table.iter().next().ok_or_else(|| <Fault as de::Error>::custom("an empty table"))?;
        let inner = self.child(name, node);
        let variant = seed
            .deserialize(name.as_str().into_deserializer())
            .map_err(|fault: Fault| fault.at(node, &inner.key))?;
        Ok((variant, inner))
    }
}

impl<'de> VariantAccess<'de> for Cursor<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let fault: Fault = de::Error::custom("this choice takes no table: give its name as a text in quotes");
        Err(fault.at(self.node, &self.key))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }
}
