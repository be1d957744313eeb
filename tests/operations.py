"""Every operation of ``django.db.migrations``, each in the ways that SQLite treats differently."""

from dataclasses import dataclass

#: The migration before the one that is compared.
SETUP = """
migrations.CreateModel("Author", [
    ("id", models.BigAutoField(primary_key=True)),
    ("name", models.CharField(max_length=50)),
    ("email", models.EmailField(null=True)),
]),
migrations.CreateModel("Genre", [
    ("id", models.AutoField(primary_key=True)),
    ("code", models.CharField(max_length=10, unique=True)),
]),
migrations.CreateModel("Book", [
    ("id", models.BigAutoField(primary_key=True)),
    ("title", models.CharField(max_length=100, db_index=True)),
    ("isbn", models.CharField(max_length=20)),
    ("pages", models.IntegerField(null=True)),
    ("price", models.DecimalField(max_digits=8, decimal_places=2, null=True)),
    ("cover", models.BinaryField(null=True)),
    ("published", models.BooleanField(default=False)),
    ("author", models.ForeignKey("evolution.Author", models.CASCADE, null=True)),
    ("genre", models.ForeignKey("evolution.Genre", models.SET_NULL, null=True, db_index=False)),
    ("sequel", models.ForeignKey("evolution.Book", models.SET_NULL, null=True)),
    ("tags", models.ManyToManyField("evolution.Genre", related_name="tagged")),
], options={
    "unique_together": {("isbn", "title")},
    "indexes": [models.Index(fields=["pages"], name="book_pages")],
    "constraints": [models.CheckConstraint(**{CHECK: Q(pages__gte=0)}, name="book_pages_positive")],
}),
migrations.CreateModel("Review", [
    ("id", models.BigAutoField(primary_key=True)),
    ("text", models.TextField(blank=True)),
    ("book", models.ForeignKey("evolution.Book", models.CASCADE)),
    ("written", models.DateTimeField(null=True)),
]),
migrations.CreateModel("Draft", [
    ("book_ptr", models.OneToOneField("evolution.Book", models.CASCADE, parent_link=True,
                                      primary_key=True)),
    ("notes", models.TextField()),
], bases=("evolution.book",)),
"""

#: Rows for it, some with text that is hard to quote.
ROWS = """
INSERT INTO evolution_author (id, name, email) VALUES
    (1, 'Ann O''Hara', 'a@x.org'), (2, '100 %s %% ?', NULL), (7, 'nul' || char(0) || 'in it', NULL);
DELETE FROM evolution_author WHERE id = 7;
INSERT INTO evolution_author (name) VALUES ('Ève 𝄞');
INSERT INTO evolution_genre (id, code) VALUES (1, 'sf'), (2, 'crime');
INSERT INTO evolution_book (id, title, isbn, pages, price, cover, published, author_id, genre_id,
    sequel_id) VALUES (1, 'One', '1', 10, 1.5, x'00ff', 1, 1, 1, NULL),
    (2, 'Two', '2', NULL, NULL, NULL, 0, 2, NULL, 1), (3, '%s', '3', 0, 0.1, NULL, 0, NULL, 2, 3);
INSERT INTO evolution_book_tags (book_id, genre_id) VALUES (1, 1), (1, 2), (3, 1);
INSERT INTO evolution_review (text, book_id, written) VALUES ('', 1, '2020-01-01'), ('x', 2, NULL);
INSERT INTO evolution_draft (book_ptr_id, notes) VALUES (2, 'wip');
"""

#: Rows that break what the operations ask for: keys that point nowhere, texts that repeat.
BROKEN_ROWS = """
PRAGMA foreign_keys = OFF;
INSERT INTO evolution_book (id, title, isbn, pages, published, author_id) VALUES
    (9, 'One', '9', 5, 0, 999);
INSERT INTO evolution_author (id, name) VALUES (20, 'x'), (21, 'x');
"""


@dataclass(frozen=True)
class Case:
    """An operation, and what else its comparison needs."""

    operations: str
    #: Columns that each database gets anew.
    masked: tuple[str, ...] = ()
    code: str = ""
    #: How the plan is replayed: forwards, and backwards if that differs.
    kind: str = "SQL"
    backwards: str = ""
    needs: str = ""


def _field(definition: str, *, model: str = "book", name: str = "added", **rest: object) -> Case:
    return Case(f"migrations.AddField({model!r}, {name!r}, {definition})", **rest)


def _alter(name: str, definition: str, *, model: str = "book", **rest: object) -> Case:
    return Case(f"migrations.AlterField({model!r}, {name!r}, {definition})", **rest)


CASES = {
    # CreateModel
    "create_plain": Case(
        "migrations.CreateModel('New', [('id', models.BigAutoField(primary_key=True)),"
        "('added', models.UUIDField(default=uuid.uuid4)),])"
    ),
    "create_with_keys": Case(
        "migrations.CreateModel('New', [('id', models.AutoField(primary_key=True)),"
        "('author', models.ForeignKey('evolution.Author', models.CASCADE)),"
        "('one', models.OneToOneField('evolution.Book', models.CASCADE)),"
        "('many', models.ManyToManyField('evolution.Book')),"
        "('slug', models.SlugField()), ('size', models.PositiveIntegerField(db_default=3)),],"
        "options={'unique_together': {('author', 'slug')}, 'db_table': 'odd name'})"
    ),
    "create_proxy": Case(
        "migrations.CreateModel('New', [], options={'proxy': True}, bases=('evolution.book',))"
    ),
    "create_unmanaged": Case(
        "migrations.CreateModel('New', [('id', models.AutoField(primary_key=True))],"
        "options={'managed': False})"
    ),
    "create_two_that_know_each_other": Case(
        "migrations.CreateModel('A', [('id', models.AutoField(primary_key=True))]),"
        "migrations.CreateModel('B', [('id', models.AutoField(primary_key=True)),"
        "('a', models.ForeignKey('evolution.A', models.CASCADE))]),"
        "migrations.AddField('a', 'b', models.ForeignKey('evolution.B', models.CASCADE, null=True))"
    ),
    "create_composite": Case(
        "migrations.CreateModel('New', [('pk', models.CompositePrimaryKey('a', 'b')),"
        "('a', models.IntegerField()), ('b', models.IntegerField())])"
    ),
    # DeleteModel
    "delete": Case("migrations.DeleteModel('Review')"),
    "delete_child": Case("migrations.DeleteModel('Draft')"),
    # RenameModel
    "rename_model": Case("migrations.RenameModel('Review', 'Critique')"),
    "rename_model_pointed_to": Case("migrations.RenameModel('Genre', 'Kind')"),
    "rename_model_by_case": Case("migrations.RenameModel('Review', 'REVIEW')", kind="failed"),
    # Tables and options
    "table": Case("migrations.AlterModelTable('Author', 'writers')"),
    "table_with_many": Case("migrations.AlterModelTable('Book', 'volumes')"),
    "table_comment": Case("migrations.AlterModelTableComment('Book', 'for the record')"),
    "options": Case("migrations.AlterModelOptions('Book', {'ordering': ['title']})"),
    "managers": Case("migrations.AlterModelManagers('Book', [('objects', models.Manager())])"),
    "unique_together": Case("migrations.AlterUniqueTogether('author', {('name', 'email')})"),
    "unique_together_broken": Case(
        "migrations.AlterUniqueTogether('book', {('title', 'published')})"
    ),
    "unique_together_none": Case("migrations.AlterUniqueTogether('book', set())"),
    "index_together_none": Case("migrations.AlterIndexTogether('book', set())"),
    "order": Case("migrations.AlterOrderWithRespectTo('review', 'book')"),
    # Indexes
    "index": Case("migrations.AddIndex('book', models.Index(fields=['-title', 'isbn'], name='i'))"),
    "index_partial": Case(
        "migrations.AddIndex('book', models.Index(fields=['title'], name='i', condition=Q(pages__gt=3)))"
    ),
    "index_percent": Case(
        "migrations.AddIndex('author', models.Index(fields=['name'], name='i',"
        " condition=Q(name='100 % of it')))"
    ),
    "index_expression": Case("migrations.AddIndex('book', models.Index(Lower('title'), name='i'))"),
    "index_remove": Case("migrations.RemoveIndex('book', 'book_pages')"),
    "index_rename": Case("migrations.RenameIndex('book', new_name='i', old_name='book_pages')"),
    "index_rename_unnamed": Case(
        "migrations.AlterIndexTogether('author', {('name', 'email')}),"
        "migrations.RenameIndex('author', new_name='i', old_fields=('name', 'email'))",
        needs="old",
    ),
    # AddField
    "add_null": _field("models.IntegerField(null=True)"),
    "add_default": _field("models.IntegerField(default=3)"),
    "add_default_percent": _field("models.CharField(max_length=50, default='10% of %s ''it''')"),
    "add_default_once": _field(
        "models.CharField(max_length=9, default='x'), preserve_default=False"
    ),
    "add_default_float": _field("models.FloatField(default=0.1 + 0.2)"),
    "add_default_bytes": _field("models.BinaryField(default=b'\\x00\\xff')"),
    "add_default_decimal": _field("models.DecimalField(max_digits=5, decimal_places=2, default=1)"),
    "add_default_json": _field("models.JSONField(default=dict)"),
    "add_default_nul": _field("models.CharField(max_length=9, default='a\\0b')", kind="failed"),
    "add_blank": _field("models.TextField(blank=True)"),
    "add_callable": _field(
        "models.UUIDField(default=uuid.uuid4)", masked=("evolution_book.added",)
    ),
    "add_callable_once": _field(
        "models.UUIDField(default=uuid.uuid4), preserve_default=False",
        masked=("evolution_book.added",),
    ),
    "add_callable_and_db_default": _field(
        "models.CharField(max_length=9, default=str, db_default='d')"
    ),
    "add_callable_constant": _field("models.CharField(max_length=9, default=str)"),
    "add_auto_now_add": _field(
        "models.DateTimeField(auto_now_add=True)", masked=("evolution_book.added",)
    ),
    "add_auto_now": _field("models.DateField(auto_now=True)", masked=("evolution_book.added",)),
    "add_auto_now_null": _field(
        "models.TimeField(auto_now=True, null=True)", masked=("evolution_book.added",)
    ),
    "add_unique": _field("models.CharField(max_length=9, null=True, unique=True)"),
    "add_unique_default": _field(
        "models.CharField(max_length=9, default='same', unique=True)", kind="failed"
    ),
    "add_index": _field("models.CharField(max_length=9, default='x', db_index=True)"),
    "add_db_default": _field("models.IntegerField(db_default=7)"),
    "add_db_default_expression": _field("models.IntegerField(db_default=Value(1) + Value(2))"),
    "add_db_default_now": _field(
        "models.DateTimeField(db_default=Now())", masked=("evolution_book.added",)
    ),
    "add_check": _field("models.PositiveIntegerField(default=1)"),
    "add_json": _field("models.JSONField(null=True)"),
    "add_key": _field(
        "models.ForeignKey('evolution.Genre', models.CASCADE, null=True)", model="author"
    ),
    "add_key_default": _field(
        "models.ForeignKey('evolution.Author', models.CASCADE, default=1, related_name='+')"
    ),
    "add_key_default_nowhere": _field(
        "models.ForeignKey('evolution.Author', models.CASCADE, default=555, related_name='+')",
        kind="failed",
    ),
    "add_one_to_one": _field(
        "models.OneToOneField('evolution.Author', models.CASCADE, null=True, related_name='+')"
    ),
    "add_many": _field("models.ManyToManyField('evolution.Author', related_name='+')"),
    "add_generated": _field(
        "models.GeneratedField(expression=Lower('title'), output_field=models.TextField(), db_persist=True)"
    ),
    "add_generated_by_python": _field(
        "models.GeneratedField(expression=MD5('title'), output_field=models.TextField(), db_persist=True)"
    ),
    "add_to_child": _field("models.IntegerField(default=1)", model="draft"),
    # RemoveField
    "remove": Case("migrations.RemoveField('book', 'price')"),
    "remove_key": Case("migrations.RemoveField('book', 'author')"),
    "remove_indexed": Case(
        "migrations.AlterUniqueTogether('book', set()), migrations.RemoveField('book', 'title')",
        backwards="failed",
    ),
    "remove_many": Case("migrations.RemoveField('book', 'tags')"),
    "remove_self": Case("migrations.RemoveField('book', 'sequel')"),
    # AlterField
    "alter_type": _alter("pages", "models.TextField(null=True)"),
    "alter_length": _alter("title", "models.CharField(max_length=200, db_index=True)"),
    "alter_not_null": _alter("email", "models.EmailField(default='nobody@x.org')", model="author"),
    "alter_not_null_once": _alter(
        "email", "models.EmailField(default='n@x.org'), preserve_default=False", model="author"
    ),
    "alter_not_null_no_default": _alter("pages", "models.IntegerField()", kind="failed"),
    "alter_not_null_callable": _alter(
        "written",
        "models.DateTimeField(default=NOW)",
        model="review",
        masked=("evolution_review.written",),
        code="from django.utils.timezone import now as NOW",
    ),
    "alter_not_null_db_default": _alter("pages", "models.IntegerField(db_default=5)"),
    "alter_unique": _alter("name", "models.CharField(max_length=50, unique=True)", model="author"),
    "alter_not_unique": _alter("code", "models.CharField(max_length=10)", model="genre"),
    "alter_index": _alter("title", "models.CharField(max_length=100)"),
    "alter_column": _alter(
        "title", "models.CharField(max_length=100, db_index=True, db_column='name')"
    ),
    "alter_column_and_type": _alter(
        "pages", "models.BigIntegerField(null=True, db_column='number')"
    ),
    "alter_primary_key": _alter("id", "models.BigAutoField(primary_key=True)", model="genre"),
    "alter_primary_key_other": Case(
        "migrations.RemoveField('book', 'tags'), migrations.RemoveField('book', 'genre'),"
        "migrations.RemoveField('genre', 'id'),"
        "migrations.AlterField('genre', 'code', models.CharField(max_length=10, primary_key=True))"
    ),
    "alter_key": _alter(
        "author", "models.ForeignKey('evolution.Author', models.CASCADE, default=1)"
    ),
    "alter_key_to_integer": _alter("author", "models.IntegerField(null=True)"),
    "alter_integer_to_key": _alter(
        "pages",
        "models.ForeignKey('evolution.Author', models.CASCADE, null=True, related_name='+')",
        kind="failed",
    ),
    "alter_key_unconstrained": _alter(
        "author",
        "models.ForeignKey('evolution.Author', models.CASCADE, null=True, db_constraint=False)",
    ),
    "alter_many_options": _alter(
        "tags", "models.ManyToManyField('evolution.Genre', related_name='x')"
    ),
    "alter_collation": _alter(
        "name", "models.CharField(max_length=50, db_collation='NOCASE')", model="author"
    ),
    "alter_nothing": _alter(
        "name", "models.CharField(max_length=50, help_text='x')", model="author"
    ),
    "alter_default_only": _alter("published", "models.BooleanField(default=True)"),
    # RenameField
    "rename_field": Case("migrations.RenameField('book', 'title', 'name')"),
    "rename_key": Case("migrations.RenameField('book', 'author', 'writer')"),
    "rename_many": Case("migrations.RenameField('book', 'tags', 'labels')"),
    "rename_pointed_to": Case("migrations.RenameField('genre', 'id', 'number')"),
    # Constraints
    "check": Case(
        "migrations.AddConstraint('book', models.CheckConstraint(**{CHECK: Q(pages__lt=100)}, name='c'))"
    ),
    "check_broken": Case(
        "migrations.AddConstraint('book', models.CheckConstraint(**{CHECK: Q(pages__gt=7)}, name='c'))",
        kind="failed",
    ),
    "check_by_python": Case(
        "migrations.AddConstraint('book', models.CheckConstraint(**{CHECK: Q(isbn__regex='^[0-9]')}, name='c'))"
    ),
    "unique": Case(
        "migrations.AddConstraint('author', models.UniqueConstraint(fields=['name'], name='u'))"
    ),
    "unique_partial": Case(
        "migrations.AddConstraint('author', models.UniqueConstraint(fields=['name'], condition=Q(email=None), name='u'))"
    ),
    "unique_expression": Case(
        "migrations.AddConstraint('author', models.UniqueConstraint(Lower('name'), name='u'))"
    ),
    "constraint_remove": Case("migrations.RemoveConstraint('book', 'book_pages_positive')"),
    "constraint_alter": Case(
        "migrations.AlterConstraint('book', 'book_pages_positive', models.CheckConstraint("
        "**{CHECK: Q(pages__gte=0)}, name='book_pages_positive', violation_error_message='no'))",
        needs="AlterConstraint",
    ),
    # SeparateDatabaseAndState
    "separate": Case(
        "migrations.SeparateDatabaseAndState("
        "database_operations=[migrations.AddField('book', 'added', models.IntegerField(default=1)),"
        "migrations.AlterField('book', 'added', models.TextField(null=True))],"
        "state_operations=[migrations.AddField('book', 'added', models.TextField(null=True))])"
    ),
    "separate_state_only": Case(
        "migrations.SeparateDatabaseAndState("
        "state_operations=[migrations.AddField('book', 'added', models.IntegerField(null=True))])"
    ),
    "separate_with_code": Case(
        "migrations.SeparateDatabaseAndState(database_operations=["
        "migrations.AddField('author', 'books', models.IntegerField(default=0)),"
        "migrations.RunPython(count, migrations.RunPython.noop),"
        "migrations.AlterField('author', 'books', models.IntegerField(default=0, db_index=True))],"
        "state_operations=[migrations.AddField('author', 'books', models.IntegerField(default=0, db_index=True))])",
        code="""
        def count(apps, editor):
            for author in apps.get_model("evolution", "Author").objects.all():
                author.books = author.book_set.count()
                author.save()
        """,
        kind="SQL and code",
        backwards="SQL",
    ),
    # RunSQL
    "sql": Case(
        "migrations.RunSQL(\"UPDATE evolution_author SET name = name || '%'\","
        "\"UPDATE evolution_author SET name = rtrim(name, '%')\")"
    ),
    "sql_several": Case(
        "migrations.RunSQL('''-- first\nCREATE TABLE extra (a TEXT); INSERT INTO extra VALUES ('a;b');"
        "/* then */ CREATE INDEX extra_a ON extra (a)''', 'DROP TABLE extra')"
    ),
    "sql_parameters": Case(
        "migrations.RunSQL([('UPDATE evolution_author SET name = %s, email = %s WHERE id = %s',"
        "['50 %s %% \\'', None, 1]), 'UPDATE evolution_author SET name = \"a%%s\" WHERE 0',"
        "('UPDATE evolution_author SET email = \\'10%\\'', None)],"
        "[('UPDATE evolution_author SET name = %s', [0.1 + 0.2])])"
    ),
    "sql_mapping": Case(
        "migrations.RunSQL([('UPDATE evolution_author SET name = %(a)s', {'a': 'x'})], migrations.RunSQL.noop)"
    ),
    "sql_of_python": Case(
        "migrations.RunSQL(\"UPDATE evolution_author SET email = MD5(name) WHERE name REGEXP 'A'\", '')"
    ),
    "sql_with_state": Case(
        "migrations.RunSQL('ALTER TABLE evolution_author ADD COLUMN born INTEGER NULL',"
        "'ALTER TABLE evolution_author DROP COLUMN born',"
        "state_operations=[migrations.AddField('author', 'born', models.IntegerField(null=True))]),"
        "migrations.AlterField('author', 'born', models.TextField(null=True))"
    ),
    "sql_pragma": Case(
        "migrations.RunSQL([('/* odd */ PRAGMA user_version = 7', None)], 'PRAGMA user_version = 6')",
        kind="migration by migration",
    ),
    "sql_fails": Case(
        "migrations.RunSQL('INSERT INTO evolution_author (id) SELECT 1 FROM evolution_author', '')",
        kind="failed",
    ),
    # RunPython
    "python": Case(
        "migrations.AddField('author', 'shout', models.CharField(max_length=50, default='')),"
        "migrations.RunPython(shout, whisper),"
        "migrations.AlterField('author', 'shout', models.CharField(max_length=50, unique=False))",
        code="""
        def shout(apps, editor):
            Author = apps.get_model("evolution", "Author")
            for author in Author.objects.using(editor.connection.alias).all():
                author.shout = author.name.upper()
                author.save()
            editor.execute("UPDATE evolution_author SET email = 'seen'")

        def whisper(apps, editor):
            apps.get_model("evolution", "Author").objects.update(email=F("shout"))
        """,
        kind="SQL and code",
    ),
    "python_noop": Case(
        "migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop)"
    ),
    "python_fails": Case(
        "migrations.RemoveField('book', 'price'), migrations.RunPython(fail, migrations.RunPython.noop)",
        code="def fail(apps, editor):\n    raise LookupError('no')",
        kind="failed",
    ),
    "python_through_editor": Case(
        "migrations.RunPython(make, drop), migrations.AddField('book', 'x', models.IntegerField(default=1))",
        code="""
        def make(apps, editor):
            Book = apps.get_model("evolution", "Book")
            field = models.IntegerField(null=True, db_index=True)
            field.set_attributes_from_name("by_hand")
            editor.add_field(Book, field)

        def drop(apps, editor):
            editor.execute("DROP INDEX IF EXISTS evolution_book_by_hand")
        """,
        kind="Django",
        backwards="SQL and code",
    ),
    "python_beside_deferred": Case(
        "migrations.CreateModel('New', [('id', models.AutoField(primary_key=True)),"
        "('author', models.ForeignKey('evolution.Author', models.CASCADE))]),"
        "migrations.RunPython(fill, migrations.RunPython.noop)",
        code="""
        def fill(apps, editor):
            for author in apps.get_model("evolution", "Author").objects.all():
                apps.get_model("evolution", "New").objects.create(author=author)
        """,
        kind="SQL and code",
        backwards="SQL",
    ),
    "python_not_atomic": Case(
        "migrations.RunPython(fill, migrations.RunPython.noop, atomic=False),",
        code="""
        def fill(apps, editor):
            apps.get_model("evolution", "Genre").objects.create(code="new")
        """,
        kind="SQL and code",
        backwards="SQL",
    ),
    # Operations of a project's own
    "own_operation": Case(
        "Upper('author', 'name'), migrations.AddField('author', 'added', models.IntegerField(default=1))",
        code="""
        class Upper(migrations.operations.base.Operation):
            def __init__(self, model, field):
                self.model, self.field = model, field
            def state_forwards(self, app_label, state):
                pass
            def database_forwards(self, app_label, editor, from_state, to_state):
                with editor.connection.cursor() as cursor:
                    cursor.execute("SELECT id, name FROM evolution_author")
                    for pk, name in cursor.fetchall():
                        editor.execute("UPDATE evolution_author SET name = %s WHERE id = %s", [name.upper(), pk])
            def database_backwards(self, app_label, editor, from_state, to_state):
                pass
        """,
        kind="by Django's operations",
    ),
    "own_subclass": Case(
        "Add('book', 'added', models.CharField(max_length=9, db_index=True, default=''))",
        code="""
        class Add(migrations.AddField):
            def database_forwards(self, app_label, editor, from_state, to_state):
                super().database_forwards(app_label, editor, from_state, to_state)
                with editor.connection.cursor() as cursor:
                    cursor.execute("UPDATE evolution_book SET added = title")
        """,
        kind="by Django's operations",
    ),
}
