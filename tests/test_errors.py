"""What an address may not hold, and what of it is never shown."""

from __future__ import annotations

import errno

import pytest

from mergerexp.config.addresses import check_address
from mergerexp.errors import ConfigError, UserError, describe, has_secret, try_all, without_credentials

SECRET = [
    "http://me:hunter2@host:5000",
    "https://hunter2@host/",  # a token as the user
    "postgresql://me:p/hunter2@host/db",
    "postgresql://me:p@hunter2@host/db",
    "postgresql://me%3Ahunter2@host/db",
    "postgresql://host/db?user=me&password=hunter2",
    "postgresql://host/db?p%61ssword=hunter2",
    "mysql+pymysql://me@host/db?ssl=1&passwd=hunter2",
    "postgresql://me@host/db?sslpassword=hunter2",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC%7D%3BUID%3Dme%3BPWD%3D%7Bhunter2%3B%7D",
    "https://host/?token=hunter2",
    "https://host/?access_token=hunter2",
    "https://host/?api-key=hunter2",
    "https://host/?key=hunter2",
    "https://host:5000/?pw=hunter2",
    "https://host/?jwt=hunter2",
    "https://host/#bearer=hunter2",
    "http://me:5000hunter2@host/",
    "postgresql://me:2024/hunter2@host/db",
    "postgresql+psycopg://me@mail.org:hunter2@host/db",
    "https://host/#token=hunter2",
    "s3://bucket/path?access_key=hunter2",
    "s3://bucket/path?aws_secret_access_key=hunter2",
    "s3://bucket/path?X-Amz-Signature=hunter2",
    "s3://me:hunter2@bucket/path",
    "wasbs://store@account.blob.core.windows.net/path?sv=1&sig=hunter2",
]
PLAIN = [
    "http://host:5000",
    "http://host:5000/teams/a@b",
    "http://host:5000?next=a@b",
    "http://[::1]:5000/a@b",
    "hdfs://host:8020/user/a@b",
    "https://host/?monkey=1&keyspace=2",
    "sqlite:///mlflow.db?timeout=20",
    "sqlite:////home/me@work/a:b@c/mlflow.db",
    "postgresql://me@host/mlflow",
    "postgresql://me@host/db?sslmode=verify-full&passfile=/home/me/.pgpass&sslkey=/home/me/key.pem",
    "s3://bucket/path?region=eu",
    "/home/me@work/mlartifacts",
]


@pytest.mark.parametrize("address", SECRET)
def test_no_secret_in_an_address(address):
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as refused:
        check_address("tracking.uri", address)
    assert "hunter2" not in str(refused.value)
    if "%61" not in address:
        said = describe(OSError(f"can't reach '{address}', giving up (errno 111)"))
        assert "hunter2" not in said
        assert said.endswith("giving up (errno 111)")


@pytest.mark.parametrize("address", PLAIN)
def test_other_addresses_are_taken(address):
    assert not has_secret(address)
    check_address("tracking.uri", address)
    if not address.startswith("postgresql"):  # whose user is hidden where it is shown
        assert without_credentials(address) == address


def test_a_folder_that_can_not_be_written_is_named_with_its_owner_not_the_lock_in_it(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "none" / ".toy.lock"))
    said = describe(error)
    assert said.startswith(
        f"in {tmp_path} nothing can be opened or written (Permission denied): {tmp_path} belongs"
    )
    assert ".lock" not in said
    (file := tmp_path / "file").touch()
    said = describe(PermissionError(errno.EACCES, "Permission denied", str(file)))
    assert said.startswith(f"{file} can't be opened or written (Permission denied): {file} belongs to you")


def test_a_file_system_that_can_only_be_read_is_no_question_of_owners(tmp_path):
    said = describe(OSError(errno.EROFS, "Read-only file system", str(tmp_path / ".toy.lock")))
    assert said == (
        f"in {tmp_path} nothing can be opened or written (Read-only file system): its file system can only "
        "be read; paths.root or MERGEREXP_ROOT says where to write"
    )


def test_a_mistake_that_many_items_have_is_told_once():
    def do(item: int) -> int:
        if item >= 5:
            raise UserError("one: no such key\ntwo: no such key" if item < 25 else f"three={item}: too large")
        return item

    with pytest.raises(ConfigError) as told:
        try_all(do, range(27), lambda item: f"cell {item}")
    assert str(told.value).splitlines() == [
        "cell 5 and 19 others: one: no such key",
        "cell 5 and 19 others: two: no such key",
        "cell 25: three=25: too large",
        "cell 26: three=26: too large",
    ]
    assert try_all(do, range(5), str) == list(range(5))
