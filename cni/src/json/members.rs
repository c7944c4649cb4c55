//! Members of objects by their names, in whatever letter case they are written: as Go's decoder
//! looks for them (`cni-plugin.md` section 1.1).
//!
//! Of several members that mean the same field the last one counts, however it is spelled; a `null`
//! says nothing, and objects complete one another. The fields of a type are known from its
//! `Deserialize`, so a new field needs nothing here. Keys of free maps stay as they are.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// The member that this name means; none if it is absent or null, or the value is no object.
pub fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    find(value.as_object()?, name).filter(|value| !value.is_null())
}

/// The same in an object. A member that is only there as `null` is found as that.
pub(crate) fn find<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let named = || members.iter().rev().filter(|(key, _)| is(key, name)).map(|(_, value)| value);
    named().find(|value| !value.is_null()).or_else(|| named().next())
}

/// The members that this name means, to be changed.
pub fn members_mut<'a>(
    value: &'a mut Value,
    name: &'a str,
) -> impl Iterator<Item = &'a mut Value> + 'a {
    let members = value.as_object_mut().into_iter().flatten();
    members.filter(move |(key, _)| is(key, name)).map(|(_, value)| value)
}

// Go also takes U+017F for an s and U+212A for a k. Nobody writes them.
fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// A value from which types are read as Go reads its structs.
pub(super) struct Lenient(pub(super) Value);

/// Gives each field what its members say.
fn sort(members: Map<String, Value>, fields: &[&str]) -> Vec<Option<Value>> {
    let mut found: Vec<Option<Value>> = vec![None; fields.len()];
    for (key, value) in members {
        let exact = || fields.iter().position(|field| *field == key);
        let Some(at) = exact().or_else(|| fields.iter().position(|field| is(&key, field))) else {
            continue;
        };
        match (found.get_mut(at), value) {
            (None, _) | (Some(_), Value::Null) => {}
            (Some(Some(Value::Object(before))), Value::Object(more)) => before.extend(more),
            (Some(slot), value) => *slot = Some(value),
        }
    }
    found
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Object(members) => {
                let members = members.into_iter().filter(|(_, value)| !value.is_null());
                visitor.visit_map(MapDeserializer::new(
                    members.map(|(key, value)| (key, Lenient(value))),
                ))
            }
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Lenient)))
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Object(members) => {
                let found = fields.iter().zip(sort(members, fields));
                let found = found.filter_map(|(field, value)| Some((*field, Lenient(value?))));
                visitor.visit_map(MapDeserializer::new(found))
            }
            // serde would take a list for the fields in their order.
            Value::Array(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

impl IntoDeserializer<'_, serde_json::Error> for Lenient {
    type Deserializer = Lenient;

    fn into_deserializer(self) -> Lenient {
        self
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::json;

    #[derive(Deserialize, Debug, Default, PartialEq)]
    #[serde(default)]
    struct Conf {
        #[serde(rename = "mtu")]
        mtu: i64,
        #[serde(rename = "runtimeConfig")]
        runtime_config: Value,
        #[serde(rename = "ipam")]
        ipam: Ipam,
        #[serde(rename = "list")]
        list: Option<Vec<Ipam>>,
    }

    #[derive(Deserialize, Debug, Default, PartialEq)]
    #[serde(default)]
    struct Ipam {
        #[serde(rename = "type")]
        kind: String,
        #[serde(rename = "assign_ipv6")]
        assign_ipv6: Option<String>,
    }

    fn ipam(kind: &str, assign_ipv6: Option<&str>) -> Ipam {
        Ipam { kind: kind.into(), assign_ipv6: assign_ipv6.map(str::to_owned) }
    }

    /// Each answer is that of Go's encoding/json.
    #[test]
    fn a_field_is_found_in_any_letter_case_and_the_last_one_counts() {
        let read = |text: &str| json::typed::<Conf>(json::decode(text.as_bytes()).unwrap());
        for (text, mtu) in [
            (r#"{"MTU": 1400}"#, 1400),
            (r#"{"mtu": 1, "MTU": 2}"#, 2),
            (r#"{"MTU": 2, "mtu": 1}"#, 1),
            (r#"{"Mtu": 1, "mtu": null, "mtu_": 7}"#, 1),
        ] {
            assert_eq!(read(text), Ok(Conf { mtu, ..Conf::default() }), "{text}");
        }
        assert_eq!(
            read(
                r#"{"ipam": {"type": "a", "assign_ipv6": "x"}, "IPAM": {"Type": "b"},
                    "RuntimeConfig": {"IPs": [null]}, "List": [{"TYPE": "c"}, {}]}"#
            ),
            Ok(Conf {
                ipam: ipam("b", Some("x")),
                runtime_config: json!({"IPs": [null]}),
                list: Some(vec![ipam("c", None), Ipam::default()]),
                ..Conf::default()
            })
        );
    }

    #[test]
    fn a_list_is_no_object_and_the_field_at_fault_is_named_as_we_call_it() {
        for (value, named) in [
            (json!({"Ipam": ["a"]}), "ipam: invalid type: sequence"),
            (json!({"LIST": [{"Type": 7}]}), "list[0].type: invalid type: integer `7`"),
            (json!(["a"]), "invalid type: sequence"),
        ] {
            let message = json::typed::<Conf>(value).unwrap_err();
            assert!(message.starts_with(named), "{message}");
        }
    }

    #[test]
    fn single_members_are_found_alike() {
        let mut value = json!({"ips": [1], "IPs": [2], "Ips": null, "MAC": null, "mac": null});
        assert_eq!(member(&value, "ips"), Some(&json!([2])));
        assert_eq!(member(&value, "mac"), None);
        assert_eq!(find(value.as_object().unwrap(), "mac"), Some(&Value::Null));
        assert_eq!(member(&json!([1]), "ips"), None);
        assert_eq!(members_mut(&mut value, "ipS").count(), 3);
    }
}
