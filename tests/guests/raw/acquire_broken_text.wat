;;! Acquires a name that is not UTF-8.

(module
  (import "namelock:registration/locks@0.1.1" "acquire" (func $acquire (param i32 i32 i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 2048) "\ff\fe\80")
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next
      (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "namelock:registration/handler@0.1.1#register") (param i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
    (call $acquire (i32.const 2048) (i32.const 3) (i32.const 0) (i32.const 512))
    unreachable)
  (func (export "namelock:registration/handler@0.1.1#free") (param i32 i32 i32 i32) (result i32)
    unreachable))
