//! How what is in a row stands in JSON where its type has no form of its own.

pub(super) mod class {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use crate::properties::Class;

    fn name(class: Class) -> &'static str {
        match class {
            Class::Safety => "safety",
            Class::Liveness => "liveness",
        }
    }

    pub(in super::super) fn serialize<S: Serializer>(
        class: &Class,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(name(*class))
    }

    pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Class, D::Error> {
        let text = String::deserialize(from)?;
        [Class::Safety, Class::Liveness]
            .into_iter()
            .find(|c| name(*c) == text)
            .ok_or_else(|| D::Error::custom(format!("unknown class {text:?}")))
    }
}

/// A map whose keys are two ends has no form in JSON: a list of objects has.
pub(super) mod ends {
    use std::collections::BTreeMap;

    use castoff_scenarios::End;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Ended {
        end: End,
        after_retry: End,
        runs: u64,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        ends: &BTreeMap<(End, End), u64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(ends.iter().map(|(&(end, after_retry), &runs)| Ended {
            end,
            after_retry,
            runs,
        }))
    }

    pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<BTreeMap<(End, End), u64>, D::Error> {
        let list = Vec::<Ended>::deserialize(from)?;
        Ok(list.into_iter().map(|e| ((e.end, e.after_retry), e.runs)).collect())
    }
}

pub(super) mod micros {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        d: &Duration,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
    }

    pub(in super::super) fn deserialize<'a, D: Deserializer<'a>>(
        from: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_micros)
    }
}
