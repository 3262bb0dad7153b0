;;! Calls the host again and again with a megabyte of text, in one line of code: nothing begins between the calls.
;;
;; A component as it is made by hand: the tools put a small function between a module and each import, where a guest can be
;; stopped.

(component
  (import "wasi:config/store@0.2.0-rc.1" (instance $config
    (type $error (variant (case "upstream" string) (case "io" string)))
    (export "error" (type $e (eq $error)))
    (export "get" (func (param "key" string) (result (result (option string) (error $e)))))))
  (core module $memory_module
    (memory (export "memory") 20)
    (global $next (mut i32) (i32.const 4096))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (global.get $next))
      (global.set $next
        (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))
      (local.get $at)))
  (core instance $m (instantiate $memory_module))
  (alias core export $m "memory" (core memory $memory))
  (alias core export $m "cabi_realloc" (core func $realloc))
  (core func $get (canon lower (func $config "get") (memory (core memory $memory)) (realloc (core func $realloc))))
  (core instance $host (export "get" (func $get)))

  (core module $main
    (import "m" "memory" (memory 20))
    (import "host" "get" (func $get (param i32 i32 i32)))
    (func (export "register") (param i32 i32 i32 i32 i32 i64 i32 i32) (result i32)
      (local $length i32)
      (i32.store16 (i32.const 65536) (i32.const 0xa9c3))
      (local.set $length (i32.const 2))
      (loop $double
        (memory.copy
          (i32.add (i32.const 65536) (local.get $length)) (i32.const 65536) (local.get $length))
        (local.set $length (i32.shl (local.get $length) (i32.const 1)))
        (br_if $double (i32.lt_u (local.get $length) (i32.const 1048576))))
      (call $get (i32.const 65536) (local.get $length) (i32.const 0)) ;; × 5000
      unreachable)
    (func (export "free") (param i32 i32 i32 i32) (result i32)
      unreachable))
  (core instance $i (instantiate $main (with "m" (instance $m)) (with "host" (instance $host))))
  (alias core export $i "register" (core func $core_register))
  (alias core export $i "free" (core func $core_free))

  (type $pair (tuple string string))
  (type $request (record
    (field "name" string) (field "owner" string) (field "lifetime-ms" (option u64)) (field "attributes" (list $pair))))
  (type $rejection (variant
    (case "invalid" string) (case "taken") (case "busy" u64) (case "forbidden" string) (case "unavailable" string)))
  (type $registration (record
    (field "name" string) (field "owner" string) (field "created-ms" u64) (field "expires-ms" (option u64))
    (field "fencing-token" u64) (field "attributes" (list $pair))))
  (func $register (param "request" $request) (result (result $registration (error $rejection)))
    (canon lift (core func $core_register) (memory (core memory $memory)) (realloc (core func $realloc))))
  (func $free (param "name" string) (param "owner" string) (result (result (error $rejection)))
    (canon lift (core func $core_free) (memory (core memory $memory)) (realloc (core func $realloc))))
  (component $handler
    (type $pair (tuple string string))
    (type $a (record
      (field "name" string) (field "owner" string) (field "lifetime-ms" (option u64)) (field "attributes" (list $pair))))
    (type $b (variant
      (case "invalid" string) (case "taken") (case "busy" u64) (case "forbidden" string) (case "unavailable" string)))
    (type $c (record
      (field "name" string) (field "owner" string) (field "created-ms" u64) (field "expires-ms" (option u64))
      (field "fencing-token" u64) (field "attributes" (list $pair))))
    (import "type-request" (type $request (eq $a)))
    (import "type-rejection" (type $rejection (eq $b)))
    (import "type-registration" (type $registration (eq $c)))
    (import "register" (func $register
      (param "request" $request) (result (result $registration (error $rejection)))))
    (import "free" (func $free (param "name" string) (param "owner" string) (result (result (error $rejection)))))
    (export $request2 "request" (type $request))
    (export $rejection2 "rejection" (type $rejection))
    (export $registration2 "registration" (type $registration))
    (export "register" (func $register)
      (func (param "request" $request2) (result (result $registration2 (error $rejection2)))))
    (export "free" (func $free)
      (func (param "name" string) (param "owner" string) (result (result (error $rejection2))))))
  (instance $exported (instantiate $handler
    (with "type-request" (type $request)) (with "type-rejection" (type $rejection))
    (with "type-registration" (type $registration)) (with "register" (func $register)) (with "free" (func $free))))
  (export "namelock:registration/handler@0.1.0" (instance $exported)))
