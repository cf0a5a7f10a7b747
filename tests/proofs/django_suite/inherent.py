"""The tests that a task's model cannot pass: patterns of their names, by their reason."""

REASONS = {
    "the text of the error lists the fields of the model": [
        "custom_columns.tests.CustomColumnsTests.test_field_error",
        "custom_columns.tests.CustomColumnsTests.test_filter_on_nonexistent_field",
        "generic_relations.tests.GenericRelationsTests.test_generic_relation_related_name_default",
        "get_or_create.tests.InvalidCreateArgumentsTests.*",
        "many_to_one.tests.ManyToOneTests.test_values_list_exception",
        "model_inheritance.tests.ModelInheritanceTests"
        ".test_reverse_relation_for_different_hierarchy_tree",
    ],
    "what is dumped has the columns of the state, too": [
        "composite_pk.tests.CompositePKFixturesTests.test_serialize_*",
        "fixtures.tests.CircularReferenceTests.*",
        "fixtures.tests.FixtureLoadingTests.test_dumpdata_*",
        "fixtures.tests.FixtureLoadingTests.test_loading_and_dumping",
        "fixtures.tests.FixtureLoadingTests.test_output_formats",
        "fixtures.tests.FixtureTransactionTests.test_format_discovery",
        "fixtures.tests.ForwardReferenceTests.*",
        "model_fields.test_durationfield.TestSerialization.test_dumping",
        "model_fields.test_jsonfield.TestSerialization.test_dumping *",
        "model_fields.test_uuid.TestSerialization.test_dumping",
        "serializers.test_*.*SerializerTestCase.test_deterministic_mapping_ordering",
        "serializers.tests.SerializerAPITests.test_stream_class",
    ],
    "it counts or names the columns of the model": [
        "basic.tests.ModelFromDbTests.test_old_signature_*",
        "composite_pk.tests.CompositePKTests.test_in_bulk_values",
        "defer.tests.BigChildDeferTests.test_only_*",
        "defer.tests.DeferTests.test_defer_only_chaining",
        "defer.tests.DeferTests.test_defer_values_does_not_defer",
        "defer.tests.DeferTests.test_get",
        "defer.tests.DeferTests.test_only*",
        "defer.tests.TestDefer2.test_defer_proxy",
        "field_defaults.tests.DefaultTests.test_both_default",
        "model_fields.test_field_flags.FieldFlagsTests.test_non_editable_fields",
        "model_forms.tests.FormFieldCallbackTests.test_custom_callback",
        "model_inheritance.tests.ModelInheritanceTests.test_meta_fields_and_ordering",
        "model_regress.tests.ModelTests.test_model_init_too_many_args",
    ],
    "SQLite takes fewer rows of more columns in one INSERT": [
        "bulk_create.tests.BulkCreateTests.test_explicit_batch_size_*",
        "bulk_create.tests.BulkCreateTests.test_large_batch_*",
    ],
    "it inserts a row all of whose columns are NULL": [
        "bulk_create.tests.BulkCreateTests.test_bulk_insert_nullable_fields",
    ],
    "it compares durations, which other work on the machine disturbs": [
        "serializers.test_deserialization.TestDeserializer.test_crafted_xml_performance*",
    ],
    "the deprecation names who has called Django's save() or asave(): SimpleTask's": [
        "basic.tests.ModelInstanceCreationTests.test_asave_deprecation*",
        "basic.tests.ModelInstanceCreationTests.test_save_deprecation*",
        "update_only_fields.tests.UpdateOnlyFieldsTests.test_empty_update_fields_positional_*save",
    ],
}

#: Of rows in a run, beside those above.
IN_RUNS = {
    "a row that was deleted does not come back: the run has lost its claim": [
        "basic.tests.ConcurrentSaveTests.test_concurrent_delete_with_save",
        "basic.tests.SelectOnSaveTests.test_select_on_save",
        "generic_relations.tests.GenericRelationsTests.test_set",
        "generic_relations.tests.GenericRelationsTests.test_aset",
        "multiple_database.tests.RouterTestCase.test_foreign_key_cross_database_protection",
        "update_only_fields.tests.UpdateOnlyFieldsTests.test_update_fields_not_updated *",
    ],
    "a run that deletes its row asks for its claim first, in one transaction": [
        "delete.tests.DeletionTests.test_bulk",
        "delete.tests.DeletionTests.test_can_defer_constraint_checks",
        "delete.tests.DeletionTests.test_db_*",
        "delete.tests.DeletionTests.test_large_delete_related",
        "delete.tests.DeletionTests.test_only_referenced_fields_selected",
        "delete.tests.DeletionTests.test_proxied_model_duplicate_queries",
        "delete.tests.FastDeleteTests.test_fast_delete_combined_relationships",
        "delete.tests.FastDeleteTests.test_fast_delete_fk",
        "delete.tests.FastDeleteTests.test_fast_delete_inheritance",
        "delete.tests.FastDeleteTests.test_fast_delete_large_batch",
        "delete.tests.FastDeleteTests.test_fast_delete_m2m",
        "delete.tests.FastDeleteTests.test_fast_delete_revm2m",
        "delete.tests.OnDeleteTests.test_do_nothing_qscount",
    ],
    "an UPDATE says that the run still holds the row": [
        "model_inheritance.tests.ModelInheritanceTests.test_update_parent_filtering",
    ],
    "a child's save asks its parent's table, which has the claim": [
        "update_only_fields.tests.UpdateOnlyFieldsTests.test_num_queries_inheritance",
        "update_only_fields.tests.UpdateOnlyFieldsTests.test_update_fields_fk_defer",
        "update_only_fields.tests.UpdateOnlyFieldsTests.test_update_fields_inheritance",
    ],
}
