;;! Grows a table until there is no more, then traps.

(module
  (memory (export "memory") 2)
  (table $t 0 funcref)
  (global $next (mut i32) (i32.const 4096))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $next))
    (global.set $next
      (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
    (local.get $at))
  (func (export "namelock:registration/handler@0.1.1#register") (param i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
    (loop $more
      (br_if $more
        (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
    unreachable)
  (func (export "namelock:registration/handler@0.1.1#free") (param i32 i32 i32 i32) (result i32)
    unreachable))
