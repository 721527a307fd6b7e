//! How an operation is declared: one macro call a system makes the values, their sum and names.

use crate::{Call, Reply};

/// One call on the outside, with the type of its reply.
pub trait Operation: Sized {
    /// What comes back when it is not a [`Failure`](crate::Failure).
    type Reply;
    /// Its name in traces and plans, `system::Operation`.
    const NAME: &'static str;
    /// The operation as a member of the sum of all.
    fn into_call(self) -> Call;
    /// This operation's reply, or `None` when `reply` answers another.
    fn from_reply(reply: Reply) -> Option<Self::Reply>;
}

/// Declares the operations of one system: a struct each, `Call`, `Reply` and `NAMES`.
#[macro_export]
macro_rules! operations {
    ($system:ident, $wire:literal, {
        $( $(#[$doc:meta])* $name:ident { $( $(#[$fdoc:meta])* $field:ident : $ty:ty ),* $(,)? } -> $reply:ty; )*
    }) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
            pub struct $name { $( $(#[$fdoc])* pub $field: $ty, )* }

            impl $crate::Operation for $name {
                type Reply = $reply;
                const NAME: &'static str = concat!($wire, "::", stringify!($name));
                fn into_call(self) -> $crate::Call { $crate::Call::$system(Call::$name(self)) }
                #[allow(clippy::unit_arg)]
                fn from_reply(reply: $crate::Reply) -> Option<$reply> {
                    match reply {
                        $crate::Reply::$system(Reply::$name(r)) => Some(r),
                        _ => None,
                    }
                }
            }
        )*

        /// Any operation of this system.
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[allow(missing_docs)]
        pub enum Call { $( $name($name), )* }

        /// The reply to any operation of this system.
        #[derive(Clone, Debug, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[allow(missing_docs)]
        pub enum Reply { $( $name($reply), )* }

        /// The names of this system's operations, in the order of this file.
        pub const NAMES: &[&str] = &[$( concat!($wire, "::", stringify!($name)), )*];

        impl Call {
            /// The operation's name, `system::Operation`.
            pub fn name(&self) -> &'static str {
                match self { $( Call::$name(_) => concat!($wire, "::", stringify!($name)), )* }
            }
        }
    };
}
