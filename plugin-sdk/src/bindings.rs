//! Bindings generated from `wit/v0.1`. One set of imports is shared by all worlds, so that an error of
//! `templates.read` is the same type as the error a hook answers with. The generated imports a plugin does
//! not call do not reach its component.

/// The interfaces of all worlds.
#[allow(missing_docs)]
pub mod imports {
    wit_bindgen::generate!({
        path: "wit/v0.1",
        inline: "package supamanager:sdk; world imports {
            import supamanager:plugin/log@0.1.0;
            import supamanager:plugin/templates@0.1.0;
            import supamanager:plugin/clock@0.1.0;
            import supamanager:plugin/service-http@0.1.0;
            import supamanager:plugin/service-tcp@0.1.0;
            import supamanager:plugin/engine-health@0.1.0;
            import supamanager:plugin/db-login@0.1.0;
            import supamanager:plugin/sql@0.1.0;
            import supamanager:plugin/progress@0.1.0;
            import supamanager:plugin/options@0.1.0;
            import supamanager:plugin/sign@0.1.0;
            import supamanager:plugin/memory@0.1.0;
            import supamanager:plugin/egress@0.1.0;
        }",
        world: "supamanager:sdk/imports",
        generate_all,
    });
}

macro_rules! world {
    ($module:ident = $world:literal as $bindings:literal, uses $($interface:literal => $shared:ident),+) => {
        #[allow(missing_docs)]
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit/v0.1",
                world: $world,
                pub_export_macro: true,
                export_macro_name: "export",
                default_bindings_module: $bindings,
                with: { $($interface: crate::bindings::imports::supamanager::plugin::$shared),+ },
            });
        }
    };
}

world!(render = "render" as "supamanager_plugin::render", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/templates@0.1.0" => templates);

world!(probe = "probe" as "supamanager_plugin::probe", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/clock@0.1.0" => clock,
    "supamanager:plugin/service-http@0.1.0" => service_http,
    "supamanager:plugin/service-tcp@0.1.0" => service_tcp,
    "supamanager:plugin/engine-health@0.1.0" => engine_health,
    "supamanager:plugin/db-login@0.1.0" => db_login);

world!(post_create = "post-create" as "supamanager_plugin::post_create", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/clock@0.1.0" => clock,
    "supamanager:plugin/progress@0.1.0" => progress,
    "supamanager:plugin/service-http@0.1.0" => service_http,
    "supamanager:plugin/sql@0.1.0" => sql,
    "supamanager:plugin/sign@0.1.0" => sign,
    "supamanager:plugin/memory@0.1.0" => memory,
    "supamanager:plugin/egress@0.1.0" => egress);

world!(admit = "admit" as "supamanager_plugin::admit", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/clock@0.1.0" => clock);

world!(before_delete = "before-delete" as "supamanager_plugin::before_delete", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/clock@0.1.0" => clock,
    "supamanager:plugin/progress@0.1.0" => progress,
    "supamanager:plugin/service-http@0.1.0" => service_http,
    "supamanager:plugin/sql@0.1.0" => sql,
    "supamanager:plugin/sign@0.1.0" => sign,
    "supamanager:plugin/memory@0.1.0" => memory,
    "supamanager:plugin/egress@0.1.0" => egress);

world!(after_resume = "after-resume" as "supamanager_plugin::after_resume", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/clock@0.1.0" => clock,
    "supamanager:plugin/progress@0.1.0" => progress,
    "supamanager:plugin/service-http@0.1.0" => service_http,
    "supamanager:plugin/sql@0.1.0" => sql,
    "supamanager:plugin/sign@0.1.0" => sign,
    "supamanager:plugin/memory@0.1.0" => memory,
    "supamanager:plugin/egress@0.1.0" => egress);

world!(notify = "notify" as "supamanager_plugin::notify", uses
    "supamanager:plugin/types@0.1.0" => types,
    "supamanager:plugin/log@0.1.0" => log,
    "supamanager:plugin/options@0.1.0" => options,
    "supamanager:plugin/clock@0.1.0" => clock,
    "supamanager:plugin/memory@0.1.0" => memory,
    "supamanager:plugin/egress@0.1.0" => egress);
